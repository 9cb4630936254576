//! Parameters and bypass while it runs.

use super::{Live, Phase, PluginAt, Session};
use crate::error::Error;
use sandrack_engine::Controller;
use sandrack_sandbox::format::Param;

impl Live {
    /// Sets a parameter from the next block on. Values are limited to the parameter's range.
    ///
    /// # Errors
    /// No such parameter, one that is only shown, a value that is not a number; the queue to the
    /// engine is full.
    pub fn set_param(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        at: PluginAt,
        param: u32,
        value: f64,
    ) -> Result<(), Error> {
        let plugin = self.plugin(session, at)?;
        let known = plugin.info().params.iter().find(|p| p.id == param);
        let reason = match known {
            None => format!("{} has no parameter {param}", plugin.name),
            Some(p) if p.read_only => format!("{}: \"{}\" is only shown", plugin.name, p.name),
            Some(p) if value.is_nan() => {
                format!("{}: the value of \"{}\" is not a number", plugin.name, p.name)
            }
            Some(p) => {
                let value = limit(p, value);
                return self.send_param(controller, at, param, value);
            }
        };
        Err(Error::Usage(reason))
    }

    pub(super) fn send_param(
        &mut self,
        controller: &mut Controller,
        at: PluginAt,
        param: u32,
        value: f64,
    ) -> Result<(), Error> {
        if let Some(recovery) = &mut self.recovery {
            recovery.set_param(at, param, value);
        }
        let node = self.nodes.get(&at).copied();
        let state = self.state(at);
        match (state.phase, node) {
            (Phase::Running | Phase::Wanted, Some(node))
                if !state.is_gone && state.replacement.is_none() =>
            {
                controller.set_param(node, param, value).map_err(full)
            }
            // The engine has nobody to give it to.
            _ => {
                state.pending.retain(|(known, _)| *known != param);
                state.pending.push((param, value));
                Ok(())
            }
        }
    }

    /// Bypasses a plugin: with its own parameter if it has one, otherwise in the engine, which lets
    /// an effect's input be heard as late as the effect would be, an instrument not at all. The
    /// engine fades; the plugin runs on.
    ///
    /// # Errors
    /// The queue to the engine is full.
    pub fn set_bypass(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        at: PluginAt,
        on: bool,
    ) -> Result<(), Error> {
        let plugin = self.plugin(session, at)?;
        let own = plugin.info().params.iter().find(|p| p.bypass && !p.read_only);
        if let Some((id, value)) = own.map(|p| (p.id, if on { p.max } else { p.min })) {
            return self.send_param(controller, at, id, value);
        }
        self.state(at).bypassed = on;
        self.tell_bypass(controller, at)
    }

    /// Lets the engine hear of what is not to be heard.
    pub(in crate::session) fn tell_bypass(
        &mut self,
        controller: &mut Controller,
        at: PluginAt,
    ) -> Result<(), Error> {
        let Some(&node) = self.nodes.get(&at) else { return Ok(()) };
        if self.rewiring.holds(at) {
            return controller.silence(node).map_err(full);
        }
        controller.set_bypass(node, self.state(at).bypassed).map_err(full)
    }

    /// Whether a plugin is bypassed in the engine.
    pub fn is_bypassed(&self, at: PluginAt) -> bool {
        self.states.get(&at).is_some_and(|state| state.bypassed)
    }
}

fn full(error: sandrack_engine::QueueFull) -> Error {
    Error::Plan { reason: error.to_string() }
}

pub(in crate::session) fn limit(param: &Param, value: f64) -> f64 {
    // What a plugin calls its range need not be one.
    if param.min <= param.max { value.clamp(param.min, param.max) } else { value }
}
