//! The control thread of a player: owns everything that plays, does what it is told, and sees to what
//! happens.

use super::PlayOptions;
use super::command::Command;
use super::history::History;
use super::saver::Saver;
use super::slots::{Job, Slot};
use super::snapshots::Relieved;
use super::sound::Sound;
use super::statistics::Statistics;
use super::view::{Learning, Message, MessageKind, View};
use crate::error::Error;
use crate::faults::FaultWriter;
use crate::midi::{Learn, MidiControl, MidiSender, find_bar};
use crate::rig::{DriverSettings, Id, Rig, States};
use crate::session::{EngineCallback, Live, LoadOrder, PluginAt, Session, SessionEvent, StripKey};
use sandrack_engine::Controller;
use sandrack_engine::block::Transport;
use sandrack_sandbox::supervisor::Supervisor;
use sandrack_sandbox::sys::clock::now_ns;
use std::collections::{BTreeMap, VecDeque};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What the control thread is told.
pub(super) enum Order {
    Command(Command),
    /// By hand: so many blocks.
    RunBlocks(u64, SyncSender<Result<(), Error>>),
    Close(SyncSender<Result<(), Error>>),
}

/// What is made anew with each engine.
pub(super) struct EngineParts {
    pub(super) live: Live,
    pub(super) controller: Controller,
    pub(super) midi: MidiControl,
    /// For notes and messages that come by command.
    pub(super) keyboard: MidiSender,
}

/// Plugins that are to be loaded into one process, one after the other.
type Orders = VecDeque<(Id, PluginAt, LoadOrder)>;

/// See the module.
pub(super) struct Control {
    pub(super) options: PlayOptions,
    pub(super) supervisor: Supervisor,
    pub(super) session: Session,
    pub(super) engine: Option<EngineParts>,
    /// While no driver has it.
    pub(super) callback: Option<EngineCallback>,
    pub(super) sound: Sound,
    /// What is wanted of the driver, options counted in.
    pub(super) settings: DriverSettings,
    /// Frames per second, most frames per block: of the engine.
    pub(super) blocks: (u32, u32),
    pub(super) rig: Rig,
    pub(super) states: States,
    pub(super) slots: BTreeMap<Id, Slot>,
    pub(super) owners: BTreeMap<PluginAt, Id>,
    pub(super) jobs: Vec<Job>,
    pub(super) waiting: VecDeque<(Option<String>, Orders)>,
    pub(super) to_load: usize,
    pub(super) loaded: usize,
    pub(super) last_plugin: usize,
    pub(super) strips: BTreeMap<Id, StripKey>,
    pub(super) last_strip: u32,
    /// Plugins that sound on after others have taken their place.
    pub(super) relieved: BTreeMap<PluginAt, Relieved>,
    /// Notes that were begun by command, and who plays them.
    pub(super) held: BTreeMap<(Id, u8), PluginAt>,
    /// The same, of MIDI ports: the port that they came in by.
    pub(super) held_out: BTreeMap<(Id, u8), u16>,
    /// Frames that the engine had done when the transport became as it is.
    pub(super) began: Option<u64>,
    /// The mixer, or what else the rig says, is not yet what the engine was told.
    pub(super) is_stale: bool,
    /// The plan whose nodes MIDI was told of.
    pub(super) routed: u64,
    pub(super) transport: Transport,
    pub(super) cables: super::cables::Cables,
    pub(super) learning: Option<(Learning, Learn)>,
    pub(super) actions: super::actions::Actions,
    pub(super) current: Option<Id>,
    pub(super) spares: super::snapshots::Spares,
    pub(super) history: History,
    pub(super) saver: Saver,
    pub(super) statistics: Statistics,
    fault_log: Option<FaultWriter>,
    pub(super) texts: super::texts::Texts,
    pub(super) messages: VecDeque<Message>,
    pub(super) told: u64,
    pub(super) picture: super::picture::Picture,
    view: Arc<Mutex<Arc<View>>>,
    published: Instant,
    looked: Instant,
}

/// How often is looked at what has happened; and how often while something is under way.
const GLANCE: Duration = Duration::from_millis(25);
const SOON: Duration = Duration::from_millis(2);
/// How often a picture is made.
const PICTURE: Duration = Duration::from_millis(33);
/// How often files are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// Messages that are kept.
const MESSAGES: usize = 200;

impl Control {
    pub(super) fn new(
        rig: Rig,
        states: States,
        saver: Saver,
        options: PlayOptions,
        view: Arc<Mutex<Arc<View>>>,
    ) -> Result<Self, Error> {
        let supervisor = Supervisor::new(options.supervisor.clone())?;
        let session = Session::mixer(&supervisor);
        let fault_log = options.fault_log.as_deref().map(FaultWriter::open).transpose()?;
        let mut settings = rig.driver.clone();
        settings.name = options.driver.clone().unwrap_or(settings.name);
        settings.frames = options.frames.unwrap_or(settings.frames);
        settings.rate = options.rate.unwrap_or(settings.rate);
        let transport = Transport {
            tempo: rig.transport.tempo,
            signature_numerator: rig.transport.signature[0],
            signature_denominator: rig.transport.signature[1],
            ..Transport::default()
        };
        let now = Instant::now();
        let mut control = Self {
            blocks: (settings.rate, settings.frames),
            sound: Sound::default(),
            texts: super::texts::Texts::start(),
            options,
            supervisor,
            session,
            engine: None,
            callback: None,
            settings,
            rig,
            states,
            slots: BTreeMap::new(),
            owners: BTreeMap::new(),
            jobs: Vec::new(),
            waiting: VecDeque::new(),
            to_load: 0,
            loaded: 0,
            last_plugin: 0,
            strips: BTreeMap::new(),
            last_strip: 0,
            relieved: BTreeMap::new(),
            held: BTreeMap::new(),
            held_out: BTreeMap::new(),
            began: None,
            is_stale: true,
            routed: u64::MAX,
            transport,
            cables: super::cables::Cables::default(),
            learning: None,
            actions: super::actions::Actions::default(),
            current: None,
            spares: super::snapshots::Spares::default(),
            history: History::default(),
            saver,
            statistics: Statistics::default(),
            fault_log,
            messages: VecDeque::new(),
            told: 0,
            picture: super::picture::Picture::default(),
            view,
            published: now,
            looked: now,
        };
        control.open_sound()?;
        control.follow_rig();
        Ok(control)
    }

    /// Runs until it is told to end. `ready` is told when all plugins are loaded, or have been found
    /// missing, and are in the plan.
    pub(super) fn run(mut self, orders: &Receiver<Order>, ready: SyncSender<()>) {
        let mut ready = Some(ready);
        loop {
            let wait = if self.is_busy() { SOON } else { GLANCE };
            let mut next = orders.recv_timeout(wait);
            // What has come together is done together.
            for _ in 0..256 {
                match next {
                    Ok(Order::Command(command)) => self.obey(command),
                    Ok(Order::RunBlocks(blocks, done)) => {
                        let result = self.run_blocks(blocks);
                        self.tick();
                        self.publish();
                        let _ = done.send(result);
                    }
                    Ok(Order::Close(done)) => {
                        let _ = done.send(self.close());
                        return;
                    }
                    Err(RecvTimeoutError::Timeout) => break,
                    Err(RecvTimeoutError::Disconnected) => {
                        if let Err(error) = self.close() {
                            tracing::error!(%error, "the rig was not saved");
                        }
                        return;
                    }
                }
                next = orders.try_recv().map_err(|_| RecvTimeoutError::Timeout);
            }
            self.tick();
            let is_ready = !self.is_loading() && !self.is_stale && self.is_in_place();
            if let Some(waits) = ready.take_if(|_| is_ready) {
                self.publish();
                let _ = waits.send(());
            } else if self.published.elapsed() >= PICTURE {
                self.publish();
            }
        }
    }

    /// Whether the mixer is in the plan, or on its way to an engine that does not run by itself.
    fn is_in_place(&self) -> bool {
        let rewiring = self.engine.as_ref().is_some_and(|engine| engine.live.is_rewiring());
        !rewiring || !self.sound.runs_by_itself()
    }

    fn is_busy(&self) -> bool {
        self.is_loading()
            || self.is_stale
            || self.engine.as_ref().is_some_and(|engine| engine.live.is_busy())
    }

    /// Sees to all that is due.
    pub(super) fn tick(&mut self) {
        let now = Instant::now();
        self.step_loading();
        self.step_snapshots(now);
        self.hear_midi();
        if self.is_stale && !(self.is_loading() && self.engine_has_nothing()) {
            self.is_stale = false;
            self.tell_engine();
        }
        self.serve();
        self.write_faults(false);
        self.see_to_cables(now);
        self.route_midi();
        self.hear_texts();
        if let Some(engine) = &mut self.engine {
            self.statistics.collect(&mut engine.controller, now);
        }
        self.see_to_sound(now);
        if now >= self.looked + LOOK {
            self.looked = now;
            self.watch_files(now);
            if self.options.autosave {
                self.autosave();
            }
        }
        self.hear_saver();
    }

    /// Whether nothing plays yet: then all comes at once, when all is loaded.
    fn engine_has_nothing(&self) -> bool {
        self.session.mix().is_none_or(|mixer| mixer.strips.is_empty())
    }

    fn serve(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        match engine.live.service(&mut self.session, &mut engine.controller) {
            Ok(events) => self.hear(events),
            Err(error) => {
                let text = format!("the rig can't be played so: {error}; undo the last change");
                self.tell(MessageKind::Error, None, text);
            }
        }
    }

    /// Tells the callback where MIDI goes, whenever that may have changed.
    fn route_midi(&mut self) {
        let plans = self.engine.as_ref().map_or(0, |engine| engine.live.plans());
        if plans == self.routed {
            return;
        }
        let setup = self.midi_setup();
        if let Some(engine) = &mut self.engine
            && engine.midi.set(setup).is_ok()
        {
            self.routed = plans;
        }
    }

    /// Writes down what went wrong. A full disk is said once, and does not end the music.
    fn write_faults(&mut self, all: bool) {
        let (Some(writer), Some(engine)) = (&mut self.fault_log, &self.engine) else { return };
        if let Err(error) = writer.write(engine.live.faults(), all) {
            self.fault_log = None;
            let text = format!("faults are not written down any more: {error}");
            self.tell(MessageKind::Error, None, text);
        }
    }

    /// Whose instance this is.
    pub(super) fn owner(&self, at: PluginAt) -> Option<&Id> {
        self.owners.get(&at)
    }

    fn hear(&mut self, events: Vec<SessionEvent>) {
        for event in events {
            let (at, kind, text) = match event {
                SessionEvent::LatencyChanged { .. } | SessionEvent::NoteEnded(..) => continue,
                SessionEvent::Restarted(at) | SessionEvent::ParamsChanged(at) => {
                    self.params_changed(at);
                    continue;
                }
                SessionEvent::ParamEdited(at, param, edit) => {
                    self.param_edited(at, param, edit);
                    continue;
                }
                SessionEvent::EditorClosed(at) => {
                    let owner = self.owner(at).cloned();
                    if let Some(slot) = owner.and_then(|id| self.slots.get_mut(&id)) {
                        slot.is_editor_open = false;
                    }
                    continue;
                }
                SessionEvent::Gone(at) => {
                    let owner = self.owner(at).cloned();
                    if let Some(slot) = owner.and_then(|id| self.slots.get_mut(&id)) {
                        slot.is_editor_open = false;
                    }
                    continue;
                }
                SessionEvent::RestartFailed(at, why) => {
                    (at, MessageKind::Error, format!("can't be activated again: {why}"))
                }
                SessionEvent::Died { at, cause } => {
                    (at, MessageKind::Warning, format!("{cause}; it is being brought back"))
                }
                SessionEvent::Killed { at, why } => (
                    at,
                    MessageKind::Warning,
                    format!("was ended: {why}; it is being brought back"),
                ),
                SessionEvent::Recovered { at, ms } => {
                    self.params_changed(at);
                    (at, MessageKind::Note, format!("plays again after {ms:.0} ms"))
                }
                SessionEvent::Quarantined { at, reason } => (
                    at,
                    MessageKind::Error,
                    format!("is left alone: {reason}; restart it to try again"),
                ),
                SessionEvent::CrashFile { at, path } => {
                    let text = format!("what it was given is in {}: see 'replay'", path.display());
                    (at, MessageKind::Note, text)
                }
                SessionEvent::Refused(at, refusal) => {
                    self.was_refused(at, &refusal.what, &refusal.grant);
                    (at, MessageKind::Warning, format!("was refused {refusal}"))
                }
                SessionEvent::Logged(at, level @ 2.., line) => {
                    let kind = if level == 2 { MessageKind::Note } else { MessageKind::Warning };
                    (at, kind, line)
                }
                SessionEvent::Logged(..)
                | SessionEvent::StateDirty(_)
                | SessionEvent::ProcessRequested(_) => continue,
            };
            if let Some(id) = self.owner(at).cloned() {
                self.tell(kind, Some(&id), format!("{}: {text}", self.name_of(&id)));
            }
        }
    }

    fn was_refused(&mut self, at: PluginAt, what: &str, grant: &str) {
        const MOST: usize = 100;
        let owner = self.owner(at).cloned();
        let Some(slot) = owner.and_then(|id| self.slots.get_mut(&id)) else { return };
        let new = (what.to_owned(), grant.to_owned());
        if slot.refused.len() < MOST && !slot.refused.contains(&new) {
            slot.refused = slot.refused.iter().cloned().chain([new]).collect();
        }
    }

    /// What a plugin is called.
    pub(super) fn name_of(&self, id: &Id) -> String {
        let slot = self.rig.plugin(id);
        if let Some(slot) = slot.filter(|slot| !slot.name.is_empty()) {
            return slot.name.clone();
        }
        match self.at(id) {
            Some(at) => self.session.name(at.track, at.plugin).to_owned(),
            None => id.to_string(),
        }
    }

    /// Tells the user something.
    pub(super) fn tell(&mut self, kind: MessageKind, plugin: Option<&Id>, text: String) {
        /// Characters of a message.
        const LONGEST: usize = 1000;
        match kind {
            MessageKind::Note => tracing::info!("{text}"),
            MessageKind::Warning => tracing::warn!("{text}"),
            MessageKind::Error => tracing::error!("{text}"),
        }
        let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
        let text: String = line.take(LONGEST).collect();
        self.told += 1;
        let (number, time_ns, plugin) = (self.told, now_ns(), plugin.cloned());
        if self.messages.len() == MESSAGES {
            self.messages.pop_front();
        }
        self.messages.push_back(Message { number, time_ns, kind, text, plugin });
        self.picture.messages = self.messages.iter().cloned().collect();
    }

    /// Sets the song position, and with it the bar.
    pub(super) fn tell_transport(&mut self) {
        find_bar(&mut self.transport);
        let Some(engine) = &mut self.engine else { return };
        if engine.controller.transport(self.transport).is_err() {
            self.tell(MessageKind::Error, None, "the driver does not take anything".into());
        }
    }

    pub(super) fn publish(&mut self) {
        self.published = Instant::now();
        let view = Arc::new(self.make_view());
        *self.view.lock().unwrap_or_else(PoisonError::into_inner) = view;
    }

    fn close(&mut self) -> Result<(), Error> {
        // What was moved last is to be saved, too.
        let end = Instant::now() + Duration::from_secs(2);
        if let Some(engine) = &mut self.engine {
            engine.live.hurry();
        }
        self.fade_out();
        while Instant::now() < end
            && self.engine.as_ref().is_some_and(|engine| !engine.live.has_remembered_all())
        {
            std::thread::sleep(SOON);
            self.serve();
        }
        if let Some(engine) = &mut self.engine {
            let said = engine.live.finish_faults();
            self.hear(said);
        }
        self.write_faults(true);
        let saved = match self.options.autosave {
            true => self.save_at_last(),
            false => Ok(()),
        };
        self.jobs.clear();
        self.waiting.clear();
        self.spares.clear();
        let stopped = self.close_sound();
        self.engine = None;
        self.publish();
        let session = std::mem::replace(&mut self.session, Session::mixer(&self.supervisor));
        session.quit();
        saved.and(stopped)
    }

    /// Lets all that sounds fade to silence, as long as the driver runs.
    fn fade_out(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        if !self.sound.runs_by_itself() {
            return;
        }
        let Some(mut mixer) = self.session.mix().cloned() else { return };
        mixer.strips.values_mut().for_each(|strip| strip.gain = 0.0);
        engine.live.move_to(mixer);
        let period = Duration::from_secs_f64(f64::from(self.blocks.1) / f64::from(self.blocks.0));
        self.serve();
        std::thread::sleep((3 * period).max(Duration::from_millis(10)));
    }
}
