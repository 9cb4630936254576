//! Plugins that are activated anew, while all others play.

use super::{Live, Phase, Place, Plugin, PluginAt, Session, SessionEvent};
use crate::errand::{Errand, NoAnswer};
use crate::error::Error;
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::Node;
use std::time::Instant;

/// A plugin in a worker that is being activated anew: away from the session until then.
pub(super) struct Reactivating {
    errand: Errand<(Node, Result<(), sandrack_sandbox::error::Error>)>,
}

impl Reactivating {
    fn start(place: &mut Node, activation: Activation) -> Result<Self, Error> {
        let mut node = place.take();
        let ask = move || {
            let result = reactivate(&mut node, activation);
            (node, result)
        };
        let errand = Errand::start("plugin activation", ask).map_err(|error| Error::Plan {
            reason: format!("no thread to activate it on: {error}"),
        })?;
        Ok(Self { errand })
    }

    /// Waits for it, and puts it where it was, active or not.
    pub(super) fn put_back(self, plugin: &mut Plugin) {
        if let Ok((node, _)) = self.errand.wait() {
            plugin.place = Place::Worker(node);
        }
    }
}

fn reactivate(
    node: &mut Node,
    activation: Activation,
) -> Result<(), sandrack_sandbox::error::Error> {
    node.deactivate()?;
    node.refresh_info()?;
    node.activate(activation).map(drop)
}

impl Live {
    /// Activates anew a plugin that takes no part, or begins to.
    pub(super) fn restart(
        &mut self,
        session: &mut Session,
        at: PluginAt,
        now: Instant,
        events: &mut Vec<SessionEvent>,
    ) {
        let state = self.state(at);
        let Some(plugin) = session.plugins.get_mut(&at) else { return };
        state.pace.count(now);
        let result = match state.replacement.take() {
            Some(node) => {
                plugin.latency = node.latency().unwrap_or(0);
                // The old one's process, if it still lives, ends with its last plugin.
                plugin.place = Place::Worker(node);
                (state.is_gone, state.describing) = (false, None);
                Ok(())
            }
            None => match plugin.begin_reactivation() {
                Ok(Some(reactivating)) => {
                    state.phase = Phase::Reactivating;
                    state.reactivating = Some(reactivating);
                    return;
                }
                result => result.map(drop),
            },
        };
        self.restarted(session, at, result, events);
    }

    /// Looks whether a plugin is back.
    pub(super) fn hear_reactivated(
        &mut self,
        session: &mut Session,
        at: PluginAt,
        events: &mut Vec<SessionEvent>,
    ) {
        let state = self.state(at);
        if state.phase != Phase::Reactivating {
            return;
        }
        let Some(plugin) = session.plugins.get_mut(&at) else { return };
        if state.replacement.is_some() {
            // It has been lost meanwhile, and what it asked for with it.
            (state.reactivating, state.wants_again, state.phase) = (None, false, Phase::Out);
            return;
        }
        let result = match state.reactivating.as_ref().map(|asked| asked.errand.poll()) {
            Some(None) => return,
            Some(Some(Ok((node, result)))) => {
                plugin.latency = node.latency().unwrap_or(plugin.latency);
                plugin.place = Place::Worker(node);
                result.map_err(Error::from)
            }
            Some(Some(Err(NoAnswer))) | None => {
                let reason = format!("{}: nobody activated it", plugin.name);
                Err(Error::Plan { reason })
            }
        };
        state.reactivating = None;
        let wants_again = std::mem::take(&mut state.wants_again);
        self.restarted(session, at, result, events);
        if wants_again && self.phase(at) == Phase::Running {
            let name = &session.plugins[&at].name;
            self.state(at).want(name);
        }
    }

    fn restarted(
        &mut self,
        session: &Session,
        at: PluginAt,
        result: Result<(), Error>,
        events: &mut Vec<SessionEvent>,
    ) {
        match result {
            Ok(()) => {
                self.state(at).phase = Phase::Running;
                self.is_stale = true;
                events.push(SessionEvent::Restarted(at));
            }
            Err(error) => {
                self.state(at).phase = Phase::Lost;
                tracing::warn!(plugin = session.plugins[&at].name, %error, "can't be activated again");
                events.push(SessionEvent::RestartFailed(at, error.to_string()));
            }
        }
    }
}

impl Plugin {
    /// Deactivates, asks what it is now, and activates as before: in this process at once, in a worker
    /// on a thread of its own. It must take no part in any block.
    fn begin_reactivation(&mut self) -> Result<Option<Reactivating>, Error> {
        let Some(activation) = self.activation else {
            return Err(Error::Plan { reason: format!("{}: was never active", self.name) });
        };
        match &mut self.place {
            Place::Worker(node) => Reactivating::start(node, activation).map(Some),
            Place::Here(local, processor) => {
                drop(processor.take());
                local.deactivate()?;
                local.refresh_info();
                let (active, latency) = local.activate(activation)?;
                *processor = Some(active);
                self.latency = latency;
                Ok(None)
            }
        }
    }
}
