//! One client of the chain, a process of its own.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use jack::{
    AudioIn, AudioOut, Client, ClientOptions, ClientStatus, Control, NotificationHandler, Port,
    ProcessHandler, ProcessScope,
};
use rustix::process::Signal;
use rustix::thread::futex;
use sandrack_benches::{child, os};

use crate::Error;
use crate::record::Record;

/// Opens a client, connects it to the one before, and runs until told to leave.
pub(crate) fn run(parent: u32, arguments: &[String]) -> Result<(), Error> {
    child::die_with_parent(parent, Signal::KILL)?;
    let numbers: Vec<usize> =
        arguments.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    let [index, clients, slots] = numbers[..] else {
        return Err(Error::Failed("a client was started by hand".to_owned()));
    };
    let record = Arc::new(Record::inherited(clients, slots)?);

    let client = open(&name(parent, index))?;
    record.frames().store(client.buffer_size(), Ordering::Relaxed);
    record.rate().store(client.sample_rate(), Ordering::Relaxed);
    let process = Gain {
        inputs: [
            client.register_port("in_1", AudioIn::default())?,
            client.register_port("in_2", AudioIn::default())?,
        ],
        outputs: [
            client.register_port("out_1", AudioOut::default())?,
            client.register_port("out_2", AudioOut::default())?,
        ],
        gain: 0.5,
        index,
        record: Arc::clone(&record),
    };
    let notices = Notices { first: index == 0, record: Arc::clone(&record) };
    let active = client.activate_async(notices, process)?;

    for channel in 1..=2 {
        if index > 0 {
            let from = format!("{}:out_{channel}", name(parent, index - 1));
            let to = format!("{}:in_{channel}", name(parent, index));
            active.as_client().connect_ports_by_name(&from, &to)?;
        }
    }
    record.ready().fetch_add(1, Ordering::Release); // with the load in `measure`
    loop {
        let leaving = record.leave().load(Ordering::Acquire); // with the store in `measure`
        if leaving as usize >= clients - index {
            break;
        }
        let _ = futex::wait(record.leave(), futex::Flags::empty(), leaving, None);
    }
    active.deactivate()?;
    Ok(())
}

/// The benchmark's number keeps two runs on one server apart.
fn name(parent: u32, index: usize) -> String {
    format!("sandrack-{parent}-{index:02}")
}

/// The server may have been started a moment ago: tries until it answers.
fn open(name: &str) -> Result<Client, Error> {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let options = ClientOptions::NO_START_SERVER | ClientOptions::USE_EXACT_NAME;
        match Client::new(name, options) {
            Ok((client, _)) => return Ok(client),
            Err(jack::Error::ClientError(status))
                if status.contains(ClientStatus::SERVER_FAILED) && Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(50));
            }
            Err(error) => {
                return Err(Error::Failed(format!("the JACK server did not answer: {error}")));
            }
        }
    }
}

/// The work of a stereo gain plugin, with its begin and end written down.
struct Gain {
    inputs: [Port<AudioIn>; 2],
    outputs: [Port<AudioOut>; 2],
    gain: f32,
    index: usize,
    record: Arc<Record>,
}

impl ProcessHandler for Gain {
    fn process(&mut self, _: &Client, scope: &ProcessScope) -> Control {
        let begin = os::now_ns();
        let gain = black_box(self.gain);
        for (input, output) in self.inputs.iter().zip(&mut self.outputs) {
            let output = output.as_mut_slice(scope);
            for (output, input) in output.iter_mut().zip(input.as_slice(scope)) {
                *output = input * gain;
            }
        }
        let end = os::now_ns();
        // With the stores in `measure`.
        if self.record.on().load(Ordering::Acquire) == 1 {
            self.record.write(self.index, scope.last_frame_time(), scope.n_frames(), begin, end);
        }
        Control::Continue
    }
}

/// Counts xruns, which the server tells every client: the first one notes them.
struct Notices {
    first: bool,
    record: Arc<Record>,
}

impl NotificationHandler for Notices {
    fn xrun(&mut self, _: &Client) -> Control {
        if self.first {
            self.record.xruns().fetch_add(1, Ordering::Relaxed);
        }
        Control::Continue
    }
}
