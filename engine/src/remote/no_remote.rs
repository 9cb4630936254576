//! For plans without remote nodes.

use super::{Remote, RemoteIndex, RemoteOutcome, RemoteState, RemoteTimes, SourceIndex};
use crate::block::Block;
use crate::event::{Event, EventBuffer};

/// Drives no node. In a plan that has remote nodes, all of them are gone.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoRemote;

impl Remote for NoRemote {
    fn state(&mut self, _: RemoteIndex) -> RemoteState {
        RemoteState::Gone
    }

    fn prepare(&mut self, _: RemoteIndex, _: u64, _: bool) {}

    fn push_event(&mut self, _: RemoteIndex, _: &Event) -> bool {
        false
    }

    fn begin(&mut self, _: &Block) {}

    fn input(&mut self, _: RemoteIndex, _: SourceIndex, _: u32) -> &mut [f32] {
        &mut []
    }

    fn ring(&mut self, _: RemoteIndex) {}

    fn wait(&mut self, nodes: &[RemoteIndex], _: u64) -> bool {
        nodes.is_empty()
    }

    fn outcome(&mut self, _: RemoteIndex) -> RemoteOutcome {
        RemoteOutcome::NotReady
    }

    fn demote(&mut self, _: RemoteIndex) {}

    fn output(&mut self, _: RemoteIndex, _: u32, _: u32, into: &mut [f32]) -> bool {
        into.fill(0.0);
        true
    }

    fn events(&mut self, _: RemoteIndex, _: &mut EventBuffer) {}

    fn times(&mut self, _: RemoteIndex) -> RemoteTimes {
        RemoteTimes::default()
    }

    fn end(&mut self) {}
}
