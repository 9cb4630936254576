//! Plugins' editors.

use super::{Place, Session};
use crate::error::Error;
use sandrack_sandbox::format::editor::{EditorInfo, EditorOptions};
use sandrack_sandbox::supervisor::Node;

/// Which plugin: track, and place in it.
pub type PluginIndex = (usize, usize);

impl Session {
    fn worker_node(&self, (track, plugin): PluginIndex) -> Result<&Node, Error> {
        match &self.plugin(track, plugin).place {
            Place::Worker(node) => Ok(node),
            Place::Here(..) => Err(Error::Usage(format!(
                "{}: editors are for plugins in workers",
                self.plugin(track, plugin).name
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
}
