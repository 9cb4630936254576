//! The plugins that there are, beside those that the rig wants.

use super::control::Control;
use super::view::{MessageKind, WorkerState};
use crate::catalog::cache::{self, Cache, Stamp};
use crate::rig::{self, Id, PluginSlot, StateKey};
use crate::session::{Kept, LoadOrder, Loaded, Loading, PluginAt};
use sandrack_sandbox::confine::{Grants, Reach};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::protocol::Activation;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

/// What there is of a plugin of the rig.
pub(super) struct Slot {
    pub(super) want: Want,
    /// The instance that is in the mixer.
    pub(super) at: Option<PluginAt>,
    /// The one that is being loaded to take its place.
    pub(super) next: Option<PluginAt>,
    /// Why there is none.
    pub(super) absent: Option<(WorkerState, String)>,
    /// What the engine was told.
    pub(super) is_bypassed: bool,
    pub(super) is_editor_open: bool,
    /// What confinement refused: what, and by which grant it would be allowed.
    pub(super) refused: Arc<[(String, String)]>,
    /// The state that it had when it was first saved: the one in the rig, in the plugin's words.
    pub(super) baseline: Option<StateKey>,
    /// Whether it left the baseline.
    pub(super) has_changed: bool,
    /// What the rig was told last.
    pub(super) captured: Option<Kept>,
    pub(super) shown: super::picture::Shown,
    /// Of the file, when it was loaded; and another one seen since, and when.
    pub(super) stamp: Option<Stamp>,
    pub(super) newer: Option<(Stamp, Instant)>,
}

/// What of a slot can't be changed without starting the plugin anew.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Want {
    format: sandrack_sandbox::format::Format,
    plugin: String,
    path: PathBuf,
    group: Option<String>,
    grants: rig::Grants,
    side_chains: BTreeSet<u32>,
}

impl Want {
    pub(super) fn of(slot: &PluginSlot) -> Self {
        Self {
            format: slot.format,
            plugin: slot.plugin.clone(),
            path: slot.path.clone(),
            group: slot.group.clone(),
            grants: slot.grants.clone(),
            side_chains: side_chains(slot),
        }
    }

    fn is_same_plugin(&self, other: &Self) -> bool {
        (self.format, &self.plugin, &self.path) == (other.format, &other.plugin, &other.path)
    }
}

/// Which of its inputs beside the main one something comes to.
fn side_chains(slot: &PluginSlot) -> BTreeSet<u32> {
    slot.side_chains.iter().map(|chain| chain.bus).collect()
}

/// Plugins on their way into one process.
pub(super) struct Job {
    loading: Loading,
    left: VecDeque<(Id, PluginAt, LoadOrder)>,
}

/// Where a plugin is; `Err`: it is not there, and what to do.
fn find(slot: &PluginSlot) -> Result<PluginRef, String> {
    let id = (!slot.plugin.is_empty()).then(|| slot.plugin.clone());
    if !slot.path.as_os_str().is_empty() && slot.path.exists() {
        return Ok(PluginRef { path: slot.path.clone(), id });
    }
    let known = cache::path().and_then(|path| Cache::read(&path)).map(|cache| cache.plugins());
    let known = known.unwrap_or_default();
    let found = known
        .iter()
        .find(|known| known.format == slot.format && Some(&known.descriptor.id) == id.as_ref());
    match found {
        Some(known) => Ok(known.reference()),
        None if slot.path.as_os_str().is_empty() => Err(format!(
            "{} is not on this machine: install it and run 'sandrack scan', or replace it",
            slot.plugin
        )),
        None => Err(format!(
            "{} is not there: install it, run 'sandrack scan' if it is elsewhere now, or replace it",
            slot.path.display()
        )),
    }
}

/// A rig's grants, as workers are given them.
fn grants(of: &rig::Grants) -> Grants {
    let file = |text: &String| match text.strip_suffix(":rw") {
        Some(path) => (PathBuf::from(path), Reach::Write),
        None => (PathBuf::from(text), Reach::Read),
    };
    Grants {
        files: of.files.iter().map(file).collect(),
        network: of.network,
        level: of.confinement,
        ..Grants::default()
    }
}

impl Control {
    /// Lets there be what the rig wants: loads what is new, lets go what is no more.
    pub(super) fn follow_rig(&mut self) {
        let wanted: BTreeMap<Id, PluginSlot> = {
            let slots = self.rig.tracks.iter().flat_map(|track| &track.plugins);
            slots.map(|slot| (slot.id.clone(), slot.clone())).collect()
        };
        let gone: Vec<Id> =
            self.slots.keys().filter(|id| !wanted.contains_key(*id)).cloned().collect();
        for id in gone {
            self.stop_loading(&id);
            if let Some(slot) = self.slots.remove(&id) {
                self.owners.retain(|_, owner| *owner != id);
                drop(slot);
            }
        }
        let mut orders: Vec<(Id, PluginAt, LoadOrder, Option<String>)> = Vec::new();
        for (id, slot) in &wanted {
            let want = Want::of(slot);
            match self.slots.get(id) {
                Some(known) if known.want == want => {}
                Some(known) => {
                    // Another plugin does not take this one's state.
                    let kept = match known.want.is_same_plugin(&want) {
                        true => self.kept(id),
                        false => Kept::default(),
                    };
                    self.stop_loading(id);
                    if let Some(known) = self.slots.get_mut(id) {
                        known.want = want;
                    }
                    orders.extend(self.order(id, slot, Some(kept)));
                }
                None => {
                    self.slots.insert(id.clone(), Slot::new(want));
                    orders.extend(self.order(id, slot, None));
                }
            }
        }
        self.load(orders);
        self.is_stale = true;
    }

    /// Loads another instance of a plugin, which goes on in its place: with this state, or else the
    /// one that it has.
    pub(super) fn load_again(&mut self, id: &Id, kept: Option<Kept>) {
        self.stop_loading(id);
        let Some(slot) = self.rig.plugin(id).cloned() else { return };
        let kept = kept.unwrap_or_else(|| self.kept(id));
        let order = self.order(id, &slot, Some(kept));
        self.load(order.into_iter().collect());
    }

    /// What is known of a plugin's state, wherever it is.
    pub(super) fn kept(&self, id: &Id) -> Kept {
        let at = self.slots.get(id).and_then(|slot| slot.at);
        let live = at.and_then(|at| self.engine.as_ref()?.live.kept(at));
        live.or_else(|| self.slots.get(id)?.captured.clone()).unwrap_or_else(|| {
            let slot = self.rig.plugin(id);
            let state = slot.and_then(|slot| self.states.get(slot.state.as_ref()?));
            Kept { state, params: Vec::new() }
        })
    }

    fn order(
        &mut self,
        id: &Id,
        slot: &PluginSlot,
        kept: Option<Kept>,
    ) -> Option<(Id, PluginAt, LoadOrder, Option<String>)> {
        let (state, params) = match kept {
            Some(Kept { state, params }) => {
                (state, params.into_iter().map(|(id, value)| (id.to_string(), value)).collect())
            }
            None => {
                let state = slot.state.as_ref().and_then(|key| self.states.get(key));
                if slot.state.is_some() && state.is_none() {
                    let text = format!("{}: its state is not in the file beside the rig", slot.id);
                    self.tell(MessageKind::Warning, Some(id), text);
                }
                (state, slot.params.clone())
            }
        };
        let (at, order) = self.order_of(id, state, params)?;
        self.expect(id, at, &order);
        Some((id.clone(), at, order, slot.group.clone()))
    }

    /// The order for an instance of a plugin; `None`: it is missing, as the slot says then.
    pub(super) fn order_of(
        &mut self,
        id: &Id,
        state: Option<Arc<Vec<u8>>>,
        params: BTreeMap<String, f64>,
    ) -> Option<(PluginAt, LoadOrder)> {
        let slot = self.rig.plugin(id)?.clone();
        let plugin = match find(&slot) {
            Ok(plugin) => plugin,
            Err(reason) => {
                let text = format!("{id}: {reason}; its state and place are kept");
                self.tell(MessageKind::Warning, Some(id), text);
                let known = self.slots.get_mut(id)?;
                known.absent = Some((WorkerState::Missing, reason));
                return None;
            }
        };
        let track = self.rig.place(id).map_or(0, |(track, _)| track);
        self.last_plugin += 1;
        let at = PluginAt { track, plugin: self.last_plugin };
        let (grants, blocks) = (grants(&slot.grants), self.blocks);
        let side_chains = side_chains(&slot);
        Some((at, LoadOrder { plugin, grants, state, params, side_chains, blocks }))
    }

    /// An instance is on its way.
    fn expect(&mut self, id: &Id, at: PluginAt, order: &LoadOrder) {
        let Some(known) = self.slots.get_mut(id) else { return };
        known.next = Some(at);
        known.absent = None;
        known.stamp = Stamp::of(&order.plugin.path).ok();
        known.newer = None;
    }

    /// Loads an instance that goes on in a plugin's place.
    pub(super) fn load_order(&mut self, id: &Id, (at, order): (PluginAt, LoadOrder)) {
        self.stop_loading(id);
        self.expect(id, at, &order);
        let group = self.rig.plugin(id).and_then(|slot| slot.group.clone());
        self.load(vec![(id.clone(), at, order, group)]);
    }

    fn load(&mut self, orders: Vec<(Id, PluginAt, LoadOrder, Option<String>)>) {
        let mut groups: BTreeMap<String, VecDeque<(Id, PluginAt, LoadOrder)>> = BTreeMap::new();
        for (id, at, order, group) in orders {
            match group {
                None => self.waiting.push_back((None, [(id, at, order)].into())),
                Some(group) => groups.entry(group).or_default().push_back((id, at, order)),
            }
        }
        for (group, orders) in groups {
            self.waiting.push_back((Some(group), orders));
        }
        self.to_load = self.waiting.iter().map(|(_, orders)| orders.len()).sum::<usize>()
            + self.jobs.iter().map(|job| job.left.len()).sum::<usize>();
        self.loaded = 0;
    }

    /// Plugins that are on their way.
    pub(super) fn is_loading(&self) -> bool {
        !self.jobs.is_empty() || !self.waiting.is_empty()
    }

    fn stop_loading(&mut self, id: &Id) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        let Some(at) = slot.next.take() else { return };
        for (_, orders) in &mut self.waiting {
            orders.retain(|(_, known, _)| *known != at);
        }
        self.waiting.retain(|(_, orders)| !orders.is_empty());
        // One that shares its process is let go when it comes; one alone ends now.
        self.jobs.retain(|job| !(job.left.len() == 1 && job.left[0].1 == at));
    }

    /// Takes in what has been loaded, and begins with what waits.
    pub(super) fn step_loading(&mut self) {
        // Two at a time a core: while one waits for its process to come up, another loads.
        let most = (2 * sandrack_sandbox::sys::thread::cores().len()).clamp(2, 16);
        while self.jobs.len() < most
            && let Some((group, left)) = self.waiting.pop_front()
        {
            // Of a group that is there already: in its process.
            let worker = group.and_then(|group| {
                let mine = |slot: &&Slot| slot.want.group.as_ref() == Some(&group);
                let ats = self.slots.values().filter(mine).filter_map(|slot| slot.at);
                let mut nodes = ats.filter_map(|at| self.session.node(at.track, at.plugin));
                nodes.find(|node| node.is_ready()).map(|node| Arc::clone(node.worker()))
            });
            let orders = left.iter().map(|(_, _, order)| order.clone()).collect();
            match Loading::start(&self.supervisor, orders, worker) {
                Ok(loading) => self.jobs.push(Job { loading, left }),
                Err(error) => {
                    for (id, ..) in &left {
                        self.refused(id, &format!("no thread to load it: {error}"));
                    }
                }
            }
        }
        let mut jobs = std::mem::take(&mut self.jobs);
        for job in &mut jobs {
            while let Some((id, at, order)) = job.left.front() {
                let Some(result) = job.loading.poll() else { break };
                let (id, at, order) = (id.clone(), *at, order.clone());
                job.left.pop_front();
                self.loaded += 1;
                if self.slots.get(&id).is_none_or(|slot| slot.next != Some(at)) {
                    // Nobody wants it any more.
                    continue;
                }
                match result {
                    Ok(loaded) => self.take_in(&id, at, order, loaded),
                    Err(reason) => self.refused(&id, &reason),
                }
            }
        }
        jobs.retain(|job| !job.left.is_empty());
        jobs.append(&mut self.jobs);
        self.jobs = jobs;
    }

    fn refused(&mut self, id: &Id, reason: &str) {
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.next = None;
        // What plays goes on.
        if slot.at.is_none() {
            slot.absent = Some((WorkerState::Refused, reason.to_owned()));
        }
        self.tell(MessageKind::Error, Some(id), format!("{id}: {reason}"));
    }

    pub(super) fn take_in(&mut self, id: &Id, at: PluginAt, order: LoadOrder, loaded: Loaded) {
        let Loaded { mut node, mut activation, kept, warnings } = loaded;
        for warning in warnings {
            self.tell(MessageKind::Warning, Some(id), format!("{id}: {warning}"));
        }
        if order.blocks != self.blocks {
            // The driver was changed meanwhile.
            let (rate, frames) = self.blocks;
            let Activation { connected_inputs, main_channels, .. } = activation;
            activation = Activation {
                main_channels,
                ..self.session.activation_of(node.info(), connected_inputs, rate, frames)
            };
            if let Err(error) = node.activate(activation) {
                return self.refused(id, &error.to_string());
            }
        }
        let name = match node.info().descriptor.name.as_str() {
            "" => order.plugin.to_string(),
            name => name.to_owned(),
        };
        let plays_notes = !node.info().note_inputs.is_empty() && node.info().inputs.is_empty();
        if let Err(error) = self.session.add(at, name, order.plugin, order.grants, node, activation)
        {
            return self.refused(id, &error.to_string());
        }
        let is_known = kept.state.is_some() || !kept.params.is_empty();
        if let Some(engine) = &mut self.engine {
            engine.live.remember(&self.session, at, kept.clone());
        }
        self.owners.insert(at, id.clone());
        let Some(slot) = self.slots.get_mut(id) else { return };
        slot.next = None;
        slot.absent = None;
        slot.is_bypassed = false;
        slot.shown = super::picture::Shown::default();
        slot.captured = is_known.then_some(kept);
        slot.stamp = Stamp::of(&self.session.reference(at.track, at.plugin).path).ok();
        if let Some(old) = slot.at.replace(at)
            && plays_notes
        {
            self.relieve(old, at);
        }
        self.is_stale = true;
    }

    /// The plugin that plays a slot's part.
    pub(super) fn at(&self, id: &Id) -> Option<PluginAt> {
        self.slots.get(id)?.at
    }

    /// Looks whether plugins' files have changed: those are loaded anew, and go on in their places.
    pub(super) fn watch_files(&mut self, now: Instant) {
        const REST: std::time::Duration = std::time::Duration::from_millis(1500);
        let mut stale = Vec::new();
        let mut stamps: BTreeMap<PathBuf, Option<Stamp>> = BTreeMap::new();
        for (id, slot) in &mut self.slots {
            let (Some(at), None) = (slot.at, slot.next) else { continue };
            let path = &self.session.reference(at.track, at.plugin).path;
            let stamp = *stamps
                .entry(path.clone())
                .or_insert_with_key(|path: &PathBuf| Stamp::of(Path::new(path)).ok());
            let Some(stamp) = stamp.filter(|stamp| Some(*stamp) != slot.stamp) else {
                slot.newer = None;
                continue;
            };
            match slot.newer {
                // It is being written: not before it rests.
                Some((seen, since)) if seen == stamp => {
                    if now >= since + REST {
                        stale.push(id.clone());
                    }
                }
                _ => slot.newer = Some((stamp, now)),
            }
        }
        for id in stale {
            self.tell(
                MessageKind::Note,
                Some(&id),
                format!("{id}: its file has changed: reloaded"),
            );
            self.load_again(&id, None);
        }
    }
}

impl Slot {
    fn new(want: Want) -> Self {
        Self {
            want,
            at: None,
            next: None,
            absent: None,
            is_bypassed: false,
            is_editor_open: false,
            refused: Arc::default(),
            baseline: None,
            has_changed: false,
            captured: None,
            shown: super::picture::Shown::default(),
            stamp: None,
            newer: None,
        }
    }
}
