//! Plugins' editors, and what plugins say while blocks run.

use super::{Place, Session};
use crate::error::Error;
use sandrack_sandbox::format::Notice;
use sandrack_sandbox::format::editor::{EditorInfo, EditorOptions};
use sandrack_sandbox::supervisor::Node;
use std::collections::HashMap;

/// Which plugin: track, and place in it.
pub type PluginIndex = (usize, usize);

impl Session {
    fn worker_node(&self, (track, plugin): PluginIndex) -> Result<&Node, Error> {
        match &self.tracks[track][plugin].place {
            Place::Worker(node) => Ok(node),
            Place::Here(..) => Err(Error::Usage(format!(
                "{}: editors are for plugins in workers",
                self.tracks[track][plugin].name
            ))),
        }
    }

    /// Opens a plugin's editor, as [`Node::open_editor`].
    pub fn open_editor(
        &self,
        plugin: PluginIndex,
        options: EditorOptions,
    ) -> Result<EditorInfo, Error> {
        Ok(self.worker_node(plugin)?.open_editor(options)?)
    }

    /// Closes a plugin's editor.
    pub fn close_editor(&self, plugin: PluginIndex) -> Result<(), Error> {
        Ok(self.worker_node(plugin)?.close_editor()?)
    }

    /// A parameter's value as the plugin writes it; `None`: it can't.
    pub fn value_to_text(
        &self,
        plugin: PluginIndex,
        param: u32,
        value: f64,
    ) -> Result<Option<String>, Error> {
        Ok(self.worker_node(plugin)?.value_to_text(param, value)?)
    }

    /// What plugins in workers have said since the last call. Doesn't wait for any.
    pub fn take_notices(&mut self) -> Vec<(PluginIndex, Notice)> {
        let mut said = Vec::new();
        for worker in self.workers() {
            let mut by_number: HashMap<u32, PluginIndex> = HashMap::new();
            for (track, plugins) in self.tracks.iter().enumerate() {
                for (place, plugin) in plugins.iter().enumerate() {
                    if let Place::Worker(node) = &plugin.place
                        && node.worker().id() == worker.id()
                    {
                        by_number.insert(node.number(), (track, place));
                    }
                }
            }
            let known = |(number, notice)| Some((*by_number.get(&number)?, notice));
            said.extend(worker.take_notices().into_iter().filter_map(known));
        }
        said
    }

    /// Makes the next [`connect`](Self::connect) activate all plugins anew, as one of them has
    /// asked for.
    pub fn restart_at_connect(&mut self) {
        self.tracks.iter_mut().flatten().for_each(|plugin| plugin.activation = None);
    }
}
