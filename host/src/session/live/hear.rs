//! What plugins say, outside their blocks and in them, and what the engine says went wrong.

use super::{Errand, Live, Phase, Place, Plugin, Session, SessionEvent, State};
use crate::faults::{FaultKind, Whom};
use sandrack_engine::Controller;
use sandrack_engine::event::{EventKind, NoteAddress};
use sandrack_engine::timing::NodeOutcome;
use sandrack_sandbox::confine::Refusal;
use sandrack_sandbox::format::{Notice, ParamEdit};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

impl Live {
    /// What went wrong in blocks.
    pub(super) fn hear_faults(
        &mut self,
        session: &Session,
        controller: &mut Controller,
        now: Instant,
    ) {
        // In this order: of this block, and those before, all is in the queue.
        let block = controller.last_block();
        let queue = controller.faults();
        for _ in 0..queue.slots() {
            let Ok(record) = queue.pop() else { break };
            let Some(&at) = self.places.get(&record.node) else { continue };
            self.watch.count(at, record, now);
            let kind = match record.outcome {
                NodeOutcome::Running | NodeOutcome::NotStarted => FaultKind::Late { blocks: 1 },
                NodeOutcome::Failed => FaultKind::Failed { blocks: 1 },
                NodeOutcome::NotFinite => FaultKind::NotFinite { blocks: 1 },
                // Of others' making, or counted already.
                _ => continue,
            };
            let whom = self.whom(session, at);
            let new = self.faults.count(whom, record.block, kind, now);
            if let (Some(number), FaultKind::NotFinite { .. }) = (new, kind)
                && let Some(recovery) = &mut self.recovery
                && recovery.ask_not_finite(session, at, number, record.block)
            {
                self.faults.expect(number);
            }
        }
        self.watch.reached(block);
    }

    pub(super) fn hear_notices(
        &mut self,
        session: &mut Session,
        block: u64,
        events: &mut Vec<SessionEvent>,
    ) {
        let mut said: HashMap<_, Vec<Notice>> = HashMap::new();
        for worker in session.workers() {
            for (number, notice) in worker.take_notices() {
                said.entry((worker.id(), number)).or_default().push(notice);
            }
        }
        for at in self.all() {
            let Some(plugin) = session.plugins.get_mut(&at) else { continue };
            let (notices, is_gone) = match &mut plugin.place {
                Place::Here(local, _) => (local.take_notices(), false),
                Place::Worker(node) => {
                    let key = (node.worker().id(), node.number());
                    (said.remove(&key).unwrap_or_default(), node.worker().is_gone())
                }
            };
            let state = self.states.entry(at).or_default();
            if is_gone {
                if !std::mem::replace(&mut state.is_gone, true) {
                    tracing::warn!(plugin = plugin.name, "its process has ended");
                    events.push(SessionEvent::Gone(at));
                    if self.recovery.is_none()
                        && let Place::Worker(node) = &plugin.place
                    {
                        let (worker, node) = (node.worker(), self.nodes[&at]);
                        let (exit, whom) = (worker.kill(), Whom { at, node, name: &plugin.name });
                        let (kind, cause) = match worker.why_ended() {
                            Some(what) => (FaultKind::Killed, format!("it {what}")),
                            None => (FaultKind::dead(exit), format!("its process {exit}")),
                        };
                        self.faults.add(whom, block, kind, cause);
                    }
                }
                continue;
            }
            if let Place::Worker(node) = &plugin.place {
                for remark in node.worker().take_remarks() {
                    let node = self.nodes[&at];
                    let whom = Whom { at, node, name: &plugin.name };
                    self.faults.add(whom, block, FaultKind::Excess, format!("it {remark}"));
                }
            }
            for notice in notices {
                tracing::debug!(plugin = plugin.name, ?notice, "a plugin says");
                match notice {
                    Notice::LatencyChanged | Notice::RestartRequested => state.want(&plugin.name),
                    Notice::ParamsChanged => state.is_changed = true,
                    // It may say anything.
                    Notice::ParamEdited { param, .. } if !plugin.has_param(param) => {}
                    Notice::ParamEdited { param, edit } => {
                        events.push(SessionEvent::ParamEdited(at, param, edit));
                    }
                    Notice::StateDirty => events.push(SessionEvent::StateDirty(at)),
                    Notice::ProcessRequested => events.push(SessionEvent::ProcessRequested(at)),
                    Notice::EditorClosed => events.push(SessionEvent::EditorClosed(at)),
                    Notice::Log(level, line) => {
                        events.push(SessionEvent::Logged(at, level, line));
                    }
                    Notice::Refused { what, grant } => {
                        let refusal = Refusal { what, grant };
                        let whom = Whom { at, node: self.nodes[&at], name: &plugin.name };
                        self.faults.add(whom, block, FaultKind::Violation, refusal.to_string());
                        events.push(SessionEvent::Refused(at, refusal));
                    }
                }
            }
            if state.is_described_anew(plugin) {
                events.push(SessionEvent::ParamsChanged(at));
            }
        }
    }

    /// What plugins told in their blocks.
    pub(super) fn hear_blocks(
        &self,
        session: &Session,
        controller: &mut Controller,
        events: &mut Vec<SessionEvent>,
    ) {
        let is_known = |at, param| {
            session.plugins.get(&at).is_some_and(|plugin: &Plugin| plugin.has_param(param))
        };
        let queue = controller.plugin_events();
        // No more than there are now: plugins may go on.
        for _ in 0..queue.slots() {
            let Ok(told) = queue.pop() else { break };
            let Some(&at) = self.places.get(&told.node) else { continue };
            events.push(match told.event.kind {
                EventKind::ParamValue { param, note: NoteAddress::ALL, value }
                    if value.is_finite() && is_known(at, param) =>
                {
                    SessionEvent::ParamEdited(at, param, ParamEdit::Value(value))
                }
                EventKind::ParamGesture { param, begin } if is_known(at, param) => {
                    let edit = if begin { ParamEdit::Begin } else { ParamEdit::End };
                    SessionEvent::ParamEdited(at, param, edit)
                }
                EventKind::NoteEnd { note } => SessionEvent::NoteEnded(at, note),
                _ => continue,
            });
        }
    }
}

impl State {
    /// Asks a plugin that has changed what it is now; whether that is known now.
    fn is_described_anew(&mut self, plugin: &mut Plugin) -> bool {
        let node = match &mut plugin.place {
            Place::Here(local, _) => {
                if self.is_changed {
                    local.refresh_info();
                }
                return std::mem::take(&mut self.is_changed);
            }
            Place::Worker(node) => node,
        };
        let answer = self.describing.as_ref().and_then(Errand::poll);
        if answer.is_some() {
            self.describing = None;
        }
        if self.is_changed && self.describing.is_none() && self.phase != Phase::Reactivating {
            let (worker, number) = (Arc::clone(node.worker()), node.number());
            let ask = move || worker.describe(number);
            // Without a thread it is asked at the next call.
            self.describing = Errand::start("plugin description", ask).ok();
            self.is_changed = self.describing.is_none();
        }
        // What it can't tell now it will tell when it is asked again.
        match answer {
            Some(Ok(Ok(info))) => node.take_info(info).is_ok(),
            _ => false,
        }
    }
}
