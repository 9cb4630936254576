use super::*;

const ENCODINGS: [Encoding; 9] = [
    Encoding::Int16,
    Encoding::Int24,
    Encoding::Int32,
    Encoding::Int32Low16,
    Encoding::Int32Low18,
    Encoding::Int32Low20,
    Encoding::Int32Low24,
    Encoding::Float32,
    Encoding::Float64,
];

fn layouts() -> impl Iterator<Item = SampleLayout> {
    ENCODINGS
        .into_iter()
        .flat_map(|encoding| [false, true].map(|big_endian| SampleLayout { encoding, big_endian }))
}

fn read(layout: SampleLayout, bytes: &[u8]) -> Vec<f32> {
    let mut samples = vec![9.0; bytes.len() / layout.bytes()];
    layout.read(bytes, &mut samples);
    samples
}

fn written(layout: SampleLayout, samples: &[f32], noise: Option<&mut Noise>) -> Vec<u8> {
    let mut bytes = vec![0xaa; samples.len() * layout.bytes()];
    layout.write(samples, &mut bytes, noise);
    bytes
}

/// Written down from the format's definition, one sample at a time.
fn bytes_of(layout: SampleLayout, value: i64) -> Vec<u8> {
    let mut bytes = value.to_le_bytes()[..layout.bytes()].to_vec();
    if layout.big_endian {
        bytes.reverse();
    }
    bytes
}

fn bits(samples: &[f32]) -> Vec<u32> {
    samples.iter().map(|x| x.to_bits()).collect()
}

/// Every value up to 20 bits; of more, the ends and every 61st.
fn values(bits: u32) -> Vec<i64> {
    let half = 1i64 << (bits - 1);
    let step = if bits <= 20 { 1 } else { 61 * ((half >> 23).max(1)) };
    let ends = [-half, -half + 1, -1, 0, 1, half - 2, half - 1];
    (-half..half).step_by(step as usize).chain(ends).collect()
}

#[test]
fn the_numbers_of_asio_name_all_of_them() {
    let big: Vec<_> = [0, 1, 2, 8, 9, 10, 11, 3, 4].into_iter().collect();
    for (number, encoding) in big.into_iter().zip(ENCODINGS) {
        for big_endian in [true, false] {
            let number = number + if big_endian { 0 } else { 16 };
            assert_eq!(
                SampleLayout::from_asio(number),
                Some(SampleLayout { encoding, big_endian })
            );
        }
    }
    for none in [-1, i32::MIN, i32::MAX, 5, 7, 12, 15, 21, 28, 32, 33, 40, 48, 64] {
        assert_eq!(SampleLayout::from_asio(none), None, "{none}");
    }
}

#[test]
fn integers_of_up_to_24_bits_come_back_to_the_bit_dithered_or_not() {
    for layout in layouts() {
        let Some(bits @ ..=24) = layout.bits() else { continue };
        let values = values(bits);
        let bytes: Vec<u8> = values.iter().flat_map(|v| bytes_of(layout, *v)).collect();
        let samples = read(layout, &bytes);
        let half = (1i64 << (bits - 1)) as f64;
        for (value, sample) in values.iter().zip(&samples) {
            assert_eq!(f64::from(*sample), *value as f64 / half, "{layout}");
        }
        assert_eq!(written(layout, &samples, None), bytes, "{layout}");
        // Nothing is lost, so nothing is added.
        assert_eq!(written(layout, &samples, Some(&mut Noise::new(3))), bytes, "{layout}");
    }
}

#[test]
fn integers_of_32_bits_keep_the_24_that_a_float_holds() {
    for layout in layouts().filter(|layout| layout.bits() == Some(32)) {
        let values: Vec<i64> = values(24).iter().map(|v| v << 8).collect();
        let bytes: Vec<u8> = values.iter().flat_map(|v| bytes_of(layout, *v)).collect();
        let samples = read(layout, &bytes);
        assert_eq!(written(layout, &samples, Some(&mut Noise::new(0))), bytes, "{layout}");
        // And all of a small value.
        let small: Vec<u8> = (-99..99).flat_map(|v| bytes_of(layout, v)).collect();
        assert_eq!(written(layout, &read(layout, &small), None), small, "{layout}");
        // Full scale is clipped to the largest, not wrapped around.
        assert_eq!(written(layout, &[1.0], None), bytes_of(layout, i32::MAX.into()), "{layout}");
    }
}

#[test]
fn floats_pass_as_they_are() {
    let odd = [0.0, -0.0, 1.0, -1.0, 7.5, 1e-40, f32::MIN_POSITIVE, f32::MAX, 0.1, -0.3];
    for layout in layouts().filter(|layout| layout.bits().is_none()) {
        let bytes = written(layout, &odd, Some(&mut Noise::new(0)));
        assert_eq!(bits(&read(layout, &bytes)), bits(&odd), "{layout}");
        let broken = written(layout, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.5], None);
        assert_eq!(read(layout, &broken), [0.0, 0.0, 0.0, 0.5], "{layout}");
    }
    let big = SampleLayout { encoding: Encoding::Float64, big_endian: true };
    assert_eq!(written(big, &[-2.0], None), [0xc0, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(read(big, &1e300f64.to_be_bytes()), [0.0]);
}

#[test]
fn writing_rounds_to_the_nearest_step_ties_to_even_and_clips() {
    for layout in layouts() {
        let Some(bits) = layout.bits() else { continue };
        let half = (1i64 << (bits - 1)) as f64;
        let (min, max) = (-(1i64 << (bits - 1)), (1i64 << (bits - 1)) - 1);
        let check = |sample: f32, value: i64| {
            let bytes = written(layout, &[sample], None);
            assert_eq!(bytes, bytes_of(layout, value), "{layout} {sample}");
        };
        for (steps, value) in
            [(0.5, 0), (1.5, 2), (2.5, 2), (-0.5, 0), (-1.5, -2), (0.51, 1), (-0.49, 0), (7.25, 7)]
        {
            check((steps / half) as f32, value);
        }
        for (sample, value) in [
            (1.0, max),
            (-1.0, min),
            (2.0, max),
            (-2.0, min),
            (f32::MAX, max),
            (f32::NEG_INFINITY, min),
            (f32::NAN, 0),
        ] {
            check(sample, value);
        }
    }
}

#[test]
fn unused_bits_of_a_word_are_not_looked_at_and_are_the_sign_when_written() {
    let layout = SampleLayout { encoding: Encoding::Int32Low16, big_endian: false };
    assert_eq!(read(layout, &[0x00, 0x80, 0x34, 0x12]), [-1.0]);
    assert_eq!(read(layout, &[0x00, 0x40, 0xff, 0xff]), [0.5]);
    assert_eq!(written(layout, &[-1.0], None), [0x00, 0x80, 0xff, 0xff]);
}

/// Written with dither and read again, in steps.
fn dithered(layout: SampleLayout, samples: &[f32], noise: &mut Noise) -> Vec<f64> {
    let half = (1i64 << (layout.bits().unwrap() - 1)) as f64;
    let back = read(layout, &written(layout, samples, Some(noise)));
    back.iter().map(|x| f64::from(*x) * half).collect()
}

#[test]
fn dither_makes_the_error_small_and_independent_of_what_is_between_the_steps() {
    const COUNT: usize = 1 << 16;
    for layout in layouts() {
        let Some(bits @ ..=24) = layout.bits() else { continue };
        let half = (1i64 << (bits - 1)) as f64;
        let mut noise = Noise::new(1);
        for part in [0.125, 0.25, 0.5, 0.75] {
            // Not a step, and small enough for an f32 to hold it.
            let steps = 1000.0 + part;
            let values = dithered(layout, &vec![(steps / half) as f32; COUNT], &mut noise);
            let errors: Vec<f64> = values.iter().map(|v| v - steps).collect();
            assert!(errors.iter().all(|e| e.abs() < 1.5), "{layout}");
            let mean = errors.iter().sum::<f64>() / COUNT as f64;
            let square = errors.iter().map(|e| e * e).sum::<f64>() / COUNT as f64;
            // A quarter of a square step, wherever between two steps: 1/6 of the noise + 1/12.
            assert!(mean.abs() < 0.01, "{layout} {part}: mean {mean}");
            assert!((square - 0.25).abs() < 0.01, "{layout} {part}: {square}");
        }
    }
}

#[test]
fn dither_of_two_channels_differs_and_goes_on_from_block_to_block() {
    let layout = SampleLayout { encoding: Encoding::Int16, big_endian: false };
    let input = vec![0.3 / 32768.0; 256];
    let mut left = Noise::new(0);
    let (first, second) =
        (dithered(layout, &input, &mut left), dithered(layout, &input, &mut left));
    let right = dithered(layout, &input, &mut Noise::new(1));
    assert!(first != second && first != right);
    let mut whole = Noise::new(0);
    let at_once = dithered(layout, &vec![0.3 / 32768.0; 512], &mut whole);
    assert_eq!(at_once, [first, second].concat());
}

#[test]
fn dither_never_wraps_around_at_full_scale() {
    for layout in layouts() {
        let Some(bits @ ..=24) = layout.bits() else { continue };
        let half = (1i64 << (bits - 1)) as f64;
        // The one in the middle is between steps, so that there is dither.
        let samples: Vec<f32> = (0..300)
            .map(|n| match n % 3 {
                0 => 1.0,
                1 => (0.5 / half) as f32,
                _ => -1.0,
            })
            .collect();
        let values = dithered(layout, &samples, &mut Noise::new(5));
        for (sample, value) in samples.iter().zip(values) {
            assert!(
                (value - (f64::from(*sample) * half)).abs() <= 2.5,
                "{layout} {sample} {value}"
            );
        }
    }
}

#[test]
fn more_room_than_samples_and_the_other_way_round() {
    for layout in layouts() {
        let mut bytes = vec![0x55; 10 * layout.bytes() + 1];
        layout.write(&[0.25; 4], &mut bytes, None);
        assert!(bytes[4 * layout.bytes()..].iter().all(|b| *b == 0x55), "{layout}");
        let mut samples = [9.0; 12];
        layout.read(&bytes[..4 * layout.bytes()], &mut samples);
        assert_eq!(samples[..4], [0.25; 4], "{layout}");
        assert_eq!(samples[4..], [9.0; 8], "{layout}");
    }
}
