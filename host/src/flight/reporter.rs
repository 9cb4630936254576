//! Finds out what is known of a fault and writes the recording, on a thread of its own: bringing the
//! plugin back does not wait for it.

use super::details::{FaultDetails, LAST_EVENTS, last_events};
use super::file::{Failure, Flight, Head};
use super::symbols::Symbols;
use super::{RecorderOptions, folder};
use sandrack_sandbox::crash::{Call, Caught, Doing};
use sandrack_sandbox::event::kind;
use sandrack_sandbox::format::{Descriptor, Format, PluginRef};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::shm::recording::Recorded;
use sandrack_sandbox::supervisor::{Node, Recording, Worker};
use sandrack_sandbox::sys::process::Exit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::time::SystemTime;

/// A plugin's state at a moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// The last block that was done before the plugin was asked for it; 0: before the first.
    pub block: u64,
    /// As the plugin gave it; `None`: it has none.
    pub state: Option<Arc<Vec<u8>>>,
    /// Parameters to be set after that.
    pub params: Vec<(u32, f64)>,
}

/// A plugin that has failed.
pub struct Subject {
    plugin: PluginRef,
    descriptor: Descriptor,
    format: Option<Format>,
    inputs: Vec<u32>,
    activation: Option<Activation>,
    recording: Option<Recording>,
    worker: Arc<Worker>,
    call: Call,
    given: Option<Arc<Vec<u8>>>,
}

impl Subject {
    /// What has to be known of it, while it is still in its place.
    pub fn new(node: &Node) -> Self {
        let info = node.info();
        Self {
            plugin: node.plugin().clone(),
            descriptor: info.descriptor.clone(),
            format: Some(info.format),
            inputs: info.inputs.iter().map(|port| port.channels).collect(),
            activation: node.activation(),
            recording: node.recording(),
            worker: Arc::clone(node.worker()),
            call: node.call(),
            given: node.given_state(),
        }
    }

    /// The entry point that it did not come back from.
    pub fn call(&self) -> Call {
        self.call
    }
}

/// What the reporter is asked.
pub struct Question {
    /// The number of its record.
    pub number: u64,
    /// The plugin.
    pub subject: Subject,
    /// What it did wrong.
    pub failure: Failure,
    /// In which block.
    pub block: u64,
    /// States that it had, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Whether a recording is written.
    pub write: bool,
}

/// What came of it.
pub struct Answer {
    /// The number of the record.
    pub number: u64,
    /// What is known.
    pub details: FaultDetails,
    /// The block in which it failed, if the recording tells.
    pub block: Option<u64>,
    /// Why no recording was written though it should have been.
    pub not_written: Option<String>,
}

/// The thread. Dropping it lets it finish what it was asked.
pub struct Reporter {
    questions: Option<Sender<Question>>,
    answers: Receiver<Answer>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Reporter {
    /// Starts it. `options`: `None`: nothing is written.
    ///
    /// # Errors
    /// The system has no thread left.
    pub fn start(options: Option<RecorderOptions>) -> std::io::Result<Self> {
        let (questions, asked) = mpsc::channel();
        let (sender, answers) = mpsc::channel();
        let thread =
            std::thread::Builder::new().name("fault reporter".into()).spawn(move || {
                let mut symbols = Symbols::default();
                while let Ok(question) = asked.recv() {
                    let answer = answer(question, options.as_ref(), &mut symbols);
                    if sender.send(answer).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self { questions: Some(questions), answers, thread: Some(thread) })
    }

    /// Asks; the answer comes later.
    pub fn ask(&self, question: Question) {
        if let Some(questions) = &self.questions {
            let _ = questions.send(question);
        }
    }

    /// The next answer, if there is one.
    pub fn answer(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }

    /// Waits for all answers that are owed.
    pub fn finish(&mut self) -> Vec<Answer> {
        self.questions = None;
        self.answers.iter().collect()
    }
}

impl Drop for Reporter {
    fn drop(&mut self) {
        self.questions = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(question: Question, options: Option<&RecorderOptions>, symbols: &mut Symbols) -> Answer {
    let Question { number, subject, failure, block, snapshots, write } = question;
    let recorded = subject.recording.as_ref().and_then(|recording| recording.read().ok());
    let mut recorded = recorded.unwrap_or_default();
    if failure == Failure::NotFinite {
        // It plays on.
        recorded.blocks.retain(|recorded| recorded.head.block <= block);
    }
    let mut details = describe(&subject, failure, &recorded, symbols);
    let last = recorded.blocks.last().map(|block| block.head.block);
    let block_known = last.filter(|_| details.call == Some(Call::Process));
    let mut not_written = None;
    if let Some(options) = options.filter(|_| write)
        && let Some(activation) = subject.activation
    {
        let block = block_known.unwrap_or(block);
        let (state, params, blocks) = match (details.call, &subject.given) {
            // What it did not take is given to it at the beginning, where it ends again.
            (Some(Call::LoadState), Some(given)) => (Some(Arc::clone(given)), vec![], vec![]),
            _ => fit(recorded, &snapshots),
        };
        let head = Head {
            by: format!("sandrack {}", env!("CARGO_PKG_VERSION")),
            time: now(),
            id: subject.descriptor.id.clone(),
            name: subject.descriptor.name.clone(),
            version: subject.descriptor.version.clone(),
            format: subject.format,
            activation,
            confinement: confinement(&subject.worker),
            inputs: subject.inputs.clone(),
            failure,
            block,
            details: details.clone(),
            params,
            has_state: state.is_some(),
            plugin: subject.plugin,
        };
        let flight = Flight { head, state: state.map(|state| state.to_vec()), blocks };
        let folder = options.folder.clone().or_else(folder::default_folder);
        let kept = match folder {
            Some(folder) => folder::keep(&flight, &folder, options.most_files)
                .map_err(|error| error.to_string()),
            None => Err("there is no folder for it: name one with --crash-dir".into()),
        };
        match kept {
            Ok(path) => details.file = Some(path),
            Err(why) => not_written = Some(why),
        }
    }
    Answer { number, details, block: block_known, not_written }
}

fn now() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

fn confinement(worker: &Worker) -> String {
    worker.enforced().map_or_else(String::new, |enforced| enforced.level.to_string())
}

/// What is known of a plugin's end, or of the moment.
fn describe(
    subject: &Subject,
    failure: Failure,
    recorded: &Recorded,
    symbols: &mut Symbols,
) -> FaultDetails {
    let Doing { caught, .. } = subject.worker.doing();
    let call = Some(subject.call).filter(|call| *call != Call::None);
    let mut details = FaultDetails { call, ..FaultDetails::default() };
    if failure == Failure::NotFinite {
        details.call = Some(Call::Process);
    } else if let Some(caught) = &caught {
        tell_caught(&mut details, failure, caught, symbols);
    }
    details.events = last_events(&recorded.blocks);
    // What was set last comes last; of each parameter the last value.
    let old = recorded.params.iter().map(|(param, value, _)| (*param, *value));
    let events = recorded.blocks.iter().flat_map(|block| &block.events);
    let new = events.filter(|event| event.kind == kind::PARAM_VALUE);
    for (param, value) in old.chain(new.map(|event| (event.param, event.value))) {
        details.params.retain(|(known, _)| *known != param);
        details.params.push((param, value));
    }
    let least = details.params.len().saturating_sub(LAST_EVENTS);
    details.params.drain(..least);
    details
}

/// What a worker's signal handler saw.
pub(super) fn tell_caught(
    details: &mut FaultDetails,
    failure: Failure,
    caught: &Caught,
    symbols: &mut Symbols,
) {
    // It was ended at once, wherever it was. What it wrote to all that it could it wrote there, too.
    if failure == Failure::Protocol {
        return;
    }
    // What ended it in the end may be another signal; of one that hung, it was asked where it is.
    if let Failure::Died { signal, .. } = failure
        && signal != Some(caught.signal)
    {
        return;
    }
    details.thread = Some(caught.thread);
    if failure != Failure::Hung {
        details.signal_name = Exit::Signal(caught.signal).signal_name();
        if !caught.was_sent && Exit::has_address(caught.signal) {
            details.address = Some(format!("{:#x}", caught.address));
        }
    }
    // What the tables of a plugin's file say is read by crates that may not know all there is.
    let frames = catch_unwind(AssertUnwindSafe(|| symbols.backtrace(caught)));
    details.backtrace = frames.unwrap_or_default();
    // The system's own functions that end a process say nothing; who called them does.
    let system = |module: &str| {
        let name = module.rsplit('/').next().unwrap_or_default();
        ["libc.", "libc-", "libpthread", "ld-linux", "[vdso]"]
            .iter()
            .any(|lib| name.starts_with(lib))
    };
    let culprit = details.backtrace.iter().find(|frame| !system(&frame.module));
    if let Some(frame) = culprit.or(details.backtrace.first()) {
        details.module = Some(frame.module.clone()).filter(|module| !module.is_empty());
        details.symbol = frame.symbol.clone();
    }
}

type Fitted =
    (Option<Arc<Vec<u8>>>, Vec<(u32, f64)>, Vec<sandrack_sandbox::shm::recording::RecordedBlock>);

/// The state to begin with, the parameters to be set then, and the blocks that follow.
fn fit(recorded: Recorded, snapshots: &[Snapshot]) -> Fitted {
    let Recorded { mut blocks, params: older } = recorded;
    let first = blocks.first().map_or(u64::MAX, |block| block.head.block);
    let before = snapshots.iter().rev().find(|snapshot| snapshot.block < first);
    let is_whole = blocks.first().is_some_and(|block| block.number == 0);
    let snapshot = match (before, snapshots.first()) {
        (Some(snapshot), _) => snapshot.clone(),
        (None, Some(snapshot)) => {
            // All states are newer than the first block. Where that is the very first one of the
            // plugin's life, nothing is lost by giving it a state that is a little too new.
            if !is_whole {
                blocks.retain(|block| block.head.block > snapshot.block);
            }
            snapshot.clone()
        }
        (None, None) => Snapshot::default(),
    };
    let mut params = snapshot.params;
    for (param, value, block) in older {
        if block > snapshot.block {
            params.retain(|(known, _)| *known != param);
            params.push((param, value));
        }
    }
    (snapshot.state, params, blocks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandrack_sandbox::shm::recording::{BlockHead, RecordedBlock};

    fn recorded(blocks: std::ops::Range<u64>, number: u64) -> Recorded {
        let block = |block| RecordedBlock {
            number: number + block - blocks.start,
            head: BlockHead { block, frames: 1, ..BlockHead::default() },
            ..RecordedBlock::default()
        };
        let params = vec![(1, 0.5, 3), (2, 0.25, 40)];
        Recorded { blocks: blocks.clone().map(block).collect(), params }
    }

    fn snapshot(block: u64) -> Snapshot {
        let state = Some(Arc::new(vec![block as u8]));
        Snapshot { block, state, params: vec![(1, 9.0), (3, 1.0)] }
    }

    #[test]
    fn a_recording_begins_with_the_last_state_before_it() {
        let all = [snapshot(5), snapshot(30), snapshot(70)];
        let (state, params, blocks) = fit(recorded(50..100, 50), &all);
        assert_eq!(state.unwrap()[..], [30]);
        assert_eq!(params, [(1, 9.0), (3, 1.0), (2, 0.25)]);
        assert_eq!(blocks.len(), 50);
    }

    #[test]
    fn without_one_it_begins_later_unless_it_is_the_plugins_whole_life() {
        let (state, _, blocks) = fit(recorded(50..100, 50), &[snapshot(70)]);
        assert_eq!((state.unwrap()[0], blocks[0].head.block), (70, 71));
        let (state, _, blocks) = fit(recorded(50..100, 0), &[snapshot(70)]);
        assert_eq!((state.unwrap()[0], blocks[0].head.block), (70, 50));
        let (state, params, blocks) = fit(recorded(50..100, 50), &[]);
        assert!(state.is_none() && blocks.len() == 50);
        assert_eq!(params, [(1, 0.5), (2, 0.25)]);
        assert!(fit(Recorded::default(), &[snapshot(3)]).2.is_empty());
    }
}
