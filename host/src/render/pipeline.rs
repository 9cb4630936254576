//! Sends batches through the stages: one after the other, or each stage on a thread of its own.

use super::source::Source;
use super::stage::{Batch, Fault, Stage};
use crate::error::Error;
use std::sync::mpsc;

/// How a pipeline ended, unless as it should.
pub(super) type Ended = Result<(), Fault>;

/// What takes the batches at the end; false: it has all it wants.
pub(super) type Sink<'a> = dyn FnMut(Batch) -> Result<bool, Error> + 'a;

/// One after the other, on this thread. `idle` is called between batches.
pub(super) fn serial(
    stages: &mut [Stage],
    source: &mut Source,
    idle: &mut dyn FnMut(),
    sink: &mut Sink<'_>,
) -> Ended {
    loop {
        let mut batch = source.next().map_err(Fault::Other)?;
        for stage in stages.iter_mut() {
            batch = stage.process(batch)?;
        }
        idle();
        if !sink(batch).map_err(Fault::Other)? {
            return Ok(());
        }
    }
}

/// Each stage on a thread, all at work at once on different batches. Which bits come out does not
/// depend on it: each stage gets the same batches in the same order.
pub(super) fn parallel(stages: &mut [Stage], source: &mut Source, sink: &mut Sink<'_>) -> Ended {
    // Enough that no stage waits while another is a little late.
    let most_under_way = 2 * stages.len() + 2;
    std::thread::scope(|scope| {
        let (first, mut next) = mpsc::channel::<Batch>();
        let (done, results) = mpsc::channel::<Result<Batch, Fault>>();
        let count = stages.len();
        for (number, stage) in stages.iter_mut().enumerate() {
            let (to_next, from_this) = mpsc::channel();
            let from_before = std::mem::replace(&mut next, from_this);
            let done = done.clone();
            let is_last = number + 1 == count;
            let run = move || {
                for batch in from_before {
                    let sent = match stage.process(batch) {
                        Ok(batch) if !is_last => to_next.send(batch).is_ok(),
                        result => {
                            let failed = result.is_err();
                            done.send(result).is_ok() && !failed
                        }
                    };
                    if !sent {
                        return;
                    }
                }
            };
            std::thread::Builder::new()
                .name(format!("stage {}", number + 1))
                .spawn_scoped(scope, run)
                .map_err(|e| Fault::Other(Error::Plan { reason: format!("no thread: {e}") }))?;
        }
        drop((next, done));
        // Ending, however, drops `first`: the stages end one after the other.
        let first = first;
        let mut under_way = 0;
        loop {
            while under_way < most_under_way {
                if first.send(source.next().map_err(Fault::Other)?).is_err() {
                    break;
                }
                under_way += 1;
            }
            let Ok(result) = results.recv() else {
                let reason = "the stages ended, and none said why".into();
                return Err(Fault::Other(Error::Plan { reason }));
            };
            under_way -= 1;
            if !sink(result?).map_err(Fault::Other)? {
                return Ok(());
            }
        }
    })
}
