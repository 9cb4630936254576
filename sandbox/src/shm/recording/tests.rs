use super::*;
use crate::sys::memory::{Access, SharedMemory};

fn pair(shape: RecordingShape) -> (RecordingWriter, RecordingReader, Arc<Mapping>) {
    let memory = SharedMemory::new("test-recording", shape.len()).unwrap();
    let write = Arc::new(memory.map(Access::ReadWrite).unwrap());
    let read = Arc::new(memory.map_unlocked().unwrap());
    let writer = RecordingWriter::new(Arc::clone(&write), shape).unwrap();
    (writer, RecordingReader::new(read, shape).unwrap(), write)
}

/// Channels as a node has them: whole cache lines apart.
fn audio(channels: u32, frames: u32, first: f32) -> Vec<f32> {
    let floats = stride(frames) / 4;
    (0..channels as usize * floats).map(|at| first + at as f32).collect()
}

fn write(writer: &mut RecordingWriter, block: u64, frames: u32, events: &[Event]) {
    let transport =
        Transport { tempo: 90.0 + block as f64, signature_numerator: 7, ..Transport::default() };
    let head = BlockHead { block, frames, steady_time: block * 64, transport };
    let input = audio(writer.region.shape.channels, frames, block as f32 * 1000.0);
    // SAFETY: as many channels as the shape has, of so many frames.
    unsafe { writer.begin(&head, events, input.as_ptr()) };
}

#[test]
fn the_last_blocks_come_back_as_they_were() {
    let shape = RecordingShape { channels: 3, max_frames: 33, blocks: 5, events: 600 };
    let (mut writer, reader, _) = pair(shape);
    assert_eq!(reader.read(), Recorded::default());
    for block in 10..22 {
        let frames = 20 + block as u32 % 13;
        write(&mut writer, block, frames, &[Event::param_value(3, 7, block as f64)]);
        if block < 21 {
            writer.end(block % 2 == 0);
        }
    }
    let Recorded { blocks, params } = reader.read();
    let numbers: Vec<u64> = blocks.iter().map(|block| block.head.block).collect();
    assert_eq!(numbers, [17, 18, 19, 20, 21]);
    assert_eq!(params, [(7, 16.0, 16)], "what the parameter was when the first of them began");
    for block in &blocks {
        let (number, frames) = (block.head.block, block.head.frames);
        assert_eq!(block.number, number - 10);
        assert_eq!(block.ended, number != 21);
        assert_eq!(block.head.transport.tempo, 90.0 + number as f64);
        assert_eq!(block.head.transport.signature_numerator, 7);
        assert_eq!(block.events, [Event::param_value(3, 7, number as f64)]);
        let whole = audio(3, frames, number as f32 * 1000.0);
        let channels = whole.chunks(stride(frames) / 4).map(|c| &c[..frames as usize]);
        assert_eq!(block.audio, channels.flatten().copied().collect::<Vec<_>>());
    }
}

#[test]
fn parameters_are_kept_though_their_events_are_not() {
    let shape = RecordingShape { channels: 0, max_frames: 8, blocks: 4, events: 512 };
    let (mut writer, reader, _) = pair(shape);
    // Far more than there is room for, in blocks of as many as one can have.
    for block in 1..=40 {
        let set = |param| Event::param_value(0, param, f64::from(param) + block as f64 / 100.0);
        let events: Vec<Event> = (0..200).map(|n| set(n as u32)).collect();
        write(&mut writer, block, 8, &events);
        writer.end(true);
    }
    let Recorded { blocks, params } = reader.read();
    // Of the third last, some events are overwritten.
    assert_eq!(blocks.iter().map(|block| block.head.block).collect::<Vec<_>>(), [39, 40]);
    assert_eq!(params.len(), 200);
    for (param, value, block) in params {
        assert_eq!((value, block), (f64::from(param) + 0.38, 38));
    }
}

#[test]
fn whatever_is_written_over_it_does_no_harm() {
    let shape = RecordingShape { channels: 2, max_frames: 16, blocks: 7, events: 512 };
    let (mut writer, reader, mapping) = pair(shape);
    let mut x = 0x9e37_79b9_7f4a_7c15u64;
    let mut random = move || {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        x
    };
    for round in 0..400u64 {
        for block in 0..10 {
            let events = [Event::new(kind::NOTE_ON, 3), Event::param_value(0, 1, 1.0)];
            write(&mut writer, round * 10 + block, 1 + (random() % 16) as u32, &events);
        }
        let few = 1 << (round % 12);
        for _ in 0..few {
            let at = (random() % (mapping.len() as u64 / 8)) as usize;
            let word = match random() % 4 {
                0 => random() % 64,
                1 => u64::MAX - random() % 3,
                _ => random(),
            };
            // SAFETY: within the mapping, aligned; nobody else uses it here.
            unsafe { mapping.as_ptr().cast::<u64>().add(at).write_volatile(word) };
        }
        let Recorded { blocks, params } = reader.read();
        assert!(blocks.len() <= 7 && params.len() <= 1024 + 512);
        for block in blocks {
            assert!((1..=16).contains(&block.head.frames));
            assert_eq!(block.audio.len(), 2 * block.head.frames as usize);
            assert!(block.events.len() <= MAX_EVENTS);
        }
        assert!(params.iter().all(|(_, value, _)| value.is_finite()));
    }
}

#[test]
fn shapes_fit_what_is_asked_for_and_no_more() {
    let shape = RecordingShape::new(2, 64, 48_000.0, 5.0, 8 << 20).unwrap();
    assert_eq!(shape.blocks, 3750);
    assert!(shape.len() < 8 << 20);
    let large = RecordingShape::new(64, 64, 192_000.0, 600.0, 8 << 20).unwrap();
    assert!(large.len() <= 8 << 20 && large.blocks >= 400, "{large:?}");
    for seconds in [0.0, -1.0, f64::NAN] {
        assert_eq!(RecordingShape::new(2, 64, 48_000.0, seconds, 1 << 20).unwrap().blocks, 16);
    }
    let least = RecordingShape::new(16, 8192, 48_000.0, 5.0, 0).unwrap();
    assert_eq!(least.blocks, 16);
    assert!(RecordingShape::new(u32::MAX, 64, 48_000.0, 5.0, 1 << 20).is_none());
    assert!(RecordingShape::new(2, 0, 48_000.0, 5.0, 1 << 20).is_none());
}
