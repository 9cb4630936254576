//! A loaded VST3 plugin, on its main thread.
//!
//! # Safety
//! `unsafe` here is calls of the plugin's objects, which live as long as references to them, on
//! their main thread and in the order that the SDK prescribes; and structures of the right kind.
#![allow(unsafe_code)]

use super::abi::meaning;
use super::buses::{self, AudioBus, Buses, EventBus};
use super::connection::Connection;
use super::expressions::Expressions;
use super::factory::Factory;
use super::host::{Handler, HostApplication};
use super::link::{MainEnd, link};
use super::midi::MidiMap;
use super::params;
use super::processor::{Bus, ParamSpec, Setup, Vst3Processor};
use super::programs;
use super::run_loop::RunLoop;
use super::shared::{Shared, Wake};
use super::view::ViewEditor;
use crate::error::PluginError;
use crate::format::editor::{Editor, Readiness, Watched};
use crate::format::{
    Descriptor, Format, Instance, Notice, PluginInfo, PluginRef, Preset, Processor, StateContext,
};
use crate::protocol::Activation;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;
use vst3::ComPtr;
use vst3::Steinberg::Vst::ProcessModes_::{kOffline, kRealtime};
use vst3::Steinberg::Vst::SymbolicSampleSizes;
use vst3::Steinberg::Vst::SymbolicSampleSizes_::{kSample32, kSample64};
use vst3::Steinberg::Vst::{
    IAudioProcessor, IAudioProcessorTrait, IComponent, IComponentHandler, IComponentTrait,
    IEditController, IEditControllerTrait, IProcessContextRequirements,
    IProcessContextRequirementsTrait, IUnitInfo, ProcessSetup,
};
use vst3::Steinberg::{
    FUnknown, IPluginBaseTrait, kNotImplemented, kResultFalse, kResultOk, kResultTrue, tresult,
};

/// A loaded VST3 plugin.
pub struct Vst3Instance {
    // Before the component: DPF's plugins count the references to each apart.
    processor: ComPtr<IAudioProcessor>,
    pub(super) component: ComPtr<IComponent>,
    pub(super) controller: Option<ComPtr<IEditController>>,
    /// The controller is an object of its own.
    pub(super) separate: bool,
    pub(super) units: Option<ComPtr<IUnitInfo>>,
    connection: Option<Connection>,
    pub(super) shared: Arc<Shared>,
    // The controller counts no reference to it in old plugins.
    handler: ComPtr<IComponentHandler>,
    host: ComPtr<FUnknown>,
    pub(super) descriptor: Descriptor,
    pub(super) name: String,
    pub(super) buses: Buses,
    pub(super) link: MainEnd,
    /// Last known values of what can be set.
    pub(super) values: HashMap<u32, f64>,
    pub(super) notices: VecDeque<Notice>,
    pub(super) active: bool,
    /// Audio buses that it wants to be active, or not: as (is input, index).
    pub(super) wanted_buses: HashMap<(bool, usize), bool>,
    /// How it was activated last.
    activation: Activation,
    /// Whether it has ever been told a rate.
    pub(super) was_set_up: bool,
    pub(super) midi: MidiMap,
    pub(super) expressions: Expressions,
    pub(super) latency: Latency,
    /// Parameters that the processor was given, sorted, and whether each is only shown; `None` while
    /// it has none.
    pub(super) given_params: Option<Vec<(u32, bool)>>,
    /// Whether the plugin wanted a restart when it was last activated.
    restarts_in_activate: bool,
    editor: Option<ViewEditor>,
    run_loop: Arc<RunLoop>,
    // Last: what the objects' code lies in.
    factory: Factory,
}

/// What the plugin says of its latency.
#[derive(Default)]
pub(super) struct Latency {
    /// As told last, in frames.
    pub(super) told: u32,
    /// It was activated anew because it said that its latency had changed, though it had not.
    pub(super) doubtful: bool,
}

impl Vst3Instance {
    /// Loads, creates and initialises it. `file` is the library that `plugin` means.
    pub fn load(
        plugin: &PluginRef,
        file: &Path,
        wake_main: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Self, PluginError> {
        let factory = Factory::open(file, &plugin.path)?;
        let class = factory.find(plugin)?.clone();
        let name = format!("{}#{}", plugin.path.display(), class.descriptor.id);
        let failed = |call: &str, reason: &str| PluginError::Call {
            plugin: name.clone(),
            call: call.into(),
            reason: reason.into(),
        };
        let wake: Wake = Arc::from(wake_main);
        let run_loop = RunLoop::new(Arc::clone(&wake));
        let host = HostApplication::create(&run_loop);
        factory.set_host(&host);
        let component: ComPtr<IComponent> = factory
            .create(&class.id)
            .ok_or_else(|| failed("createInstance", "the factory gave no component"))?;
        // SAFETY: see the file's text.
        let result = unsafe { component.initialize(host.as_ptr()) };
        if result != kResultOk {
            return Err(failed("initialize", &meaning(result)));
        }
        let Some(processor) = component.cast::<IAudioProcessor>() else {
            // SAFETY: see the file's text.
            unsafe { component.terminate() };
            return Err(failed("queryInterface", "it has no IAudioProcessor"));
        };
        let shared = Arc::new(Shared::new(Arc::clone(&wake)));
        let mut instance = Self {
            component,
            processor,
            controller: None,
            separate: false,
            units: None,
            connection: None,
            handler: Handler::create(&shared),
            shared,
            host,
            descriptor: class.descriptor,
            name,
            buses: Buses::default(),
            // What is edited before there is an audio thread waits for it.
            link: link(wake).0,
            values: HashMap::new(),
            notices: VecDeque::new(),
            active: false,
            wanted_buses: HashMap::new(),
            activation: Activation::new(48_000.0, 512),
            was_set_up: false,
            midi: MidiMap::new(0),
            expressions: Expressions::default(),
            latency: Latency::default(),
            given_params: None,
            restarts_in_activate: false,
            editor: None,
            run_loop,
            factory,
        };
        instance.attach_controller();
        instance.buses = instance.negotiate()?;
        instance.remember_values();
        Ok(instance)
    }

    fn attach_controller(&mut self) {
        let same = self.component.cast::<IEditController>();
        self.separate = same.is_none();
        let Some(controller) = same.or_else(|| self.create_controller()) else { return };
        // SAFETY: see the file's text.
        unsafe { controller.setComponentHandler(self.handler.as_ptr()) };
        if self.separate {
            self.connection = Connection::new(&self.component, &controller, &self.shared);
        }
        self.units = controller.cast();
        self.controller = Some(controller);
        // One object knows its own state. To ask for it could take long, or worse.
        if self.separate {
            self.tell_controller_the_state(StateContext::Project);
        }
    }

    fn create_controller(&mut self) -> Option<ComPtr<IEditController>> {
        let mut class = [0; 16];
        // SAFETY: see the file's text.
        if unsafe { self.component.getControllerClassId(&mut class) } != kResultOk {
            return None;
        }
        let controller: Option<ComPtr<IEditController>> = self.factory.create(&class);
        let Some(controller) = controller else {
            self.log(3, "the factory gave no controller of the class the component names");
            return None;
        };
        // SAFETY: see the file's text.
        let result = unsafe { controller.initialize(self.host.as_ptr()) };
        if result != kResultOk {
            self.log(3, &format!("goes without its controller: {}", meaning(result)));
            return None;
        }
        Some(controller)
    }

    fn negotiate(&self) -> Result<Buses, PluginError> {
        Buses::negotiate(&self.component, &self.processor)
            .map_err(|what| PluginError::Absurd { plugin: self.name.clone(), what })
    }

    /// Buses change only while the plugin is inactive.
    fn refresh_buses(&mut self) {
        if self.active {
            return;
        }
        match self.negotiate() {
            Ok(buses) => self.buses = buses,
            Err(error) => self.log(6, &error.to_string()),
        }
    }

    pub(super) fn log(&mut self, severity: i32, line: &str) {
        self.notices.push_back(Notice::Log(severity, line.to_owned()));
    }

    pub(super) fn call_failed(&self, call: &str, reason: impl ToString) -> PluginError {
        PluginError::Call {
            plugin: self.name.clone(),
            call: call.into(),
            reason: reason.to_string(),
        }
    }

    /// The error of a call that a plugin need not implement. Some answer "no" and do it all the
    /// same, as many hosts never look: that is only noted.
    fn checked(&mut self, call: &str, result: tresult) -> Result<(), PluginError> {
        match result {
            kResultOk | kNotImplemented => {}
            kResultFalse => self.log(3, &format!("{call}: the plugin refused; it is used anyway")),
            other => return Err(self.call_failed(call, meaning(other))),
        }
        Ok(())
    }

    /// Tells the plugin rate and block size. Whether it wants 64-bit samples.
    pub(super) fn set_up(&mut self, activation: &Activation) -> Result<bool, PluginError> {
        let double = !self.takes(kSample32) && self.takes(kSample64);
        let mut setup = ProcessSetup {
            processMode: if activation.offline { kOffline } else { kRealtime } as i32,
            symbolicSampleSize: if double { kSample64 } else { kSample32 } as i32,
            maxSamplesPerBlock: activation.max_frames as i32,
            sampleRate: activation.rate,
        };
        // SAFETY: see the file's text.
        let result = unsafe { self.processor.setupProcessing(&mut setup) };
        self.checked("setupProcessing", result)?;
        self.was_set_up = true;
        Ok(double)
    }

    fn takes(&self, sample_size: SymbolicSampleSizes) -> bool {
        // SAFETY: see the file's text.
        unsafe { self.processor.canProcessSampleSize(sample_size as i32) == kResultTrue }
    }

    fn param_specs(&self) -> Vec<ParamSpec> {
        let briefs = self.controller.as_ref().map(params::briefs).unwrap_or_default();
        let mut specs: Vec<_> = briefs
            .iter()
            .map(|param| ParamSpec {
                id: param.id,
                read_only: param.read_only,
                value: param.value,
                program: param.program.then_some(param.steps),
            })
            .collect();
        specs.sort_by_key(|spec| spec.id);
        specs
    }

    /// What the plugin asked for before counts no longer, and what it asks for while it is
    /// activated is granted once: some would ask for ever.
    fn after_activate(&mut self) {
        self.take_news();
        let wants = self.shared.wishes.restart.is_raised();
        if std::mem::replace(&mut self.restarts_in_activate, wants) && wants {
            self.shared.wishes.restart.fulfil();
            self.log(6, "wants a restart each time it is activated; not granted again");
        }
        // SAFETY: see the file's text.
        let latency = unsafe { self.processor.getLatencySamples() };
        self.latency.doubtful &= latency == self.latency.told;
        self.latency.told = latency;
        // The activation's answer holds the latency, whatever the plugin said of it meanwhile.
        self.shared.wishes.latency.fulfil();
    }

    fn activate_processor(&mut self, activation: Activation) -> Result<Vst3Processor, PluginError> {
        self.buses = self.negotiate()?;
        self.take_bus_requests();
        self.shared.wishes.restart.fulfil();
        let double = self.set_up(&activation)?;
        let wanted = |is_input| {
            let wanted = &self.wanted_buses;
            move |index| wanted.get(&(is_input, index)).copied()
        };
        let (connected_inputs, connected_outputs) =
            (activation.connected_inputs, activation.connected_outputs);
        let inputs = buses::active(&self.buses.inputs, connected_inputs, wanted(true));
        let outputs = buses::active(&self.buses.outputs, connected_outputs, wanted(false));
        self.buses.activate(&self.component, &inputs, &outputs);
        // SAFETY: see the file's text.
        let result = unsafe { self.component.setActive(1) };
        self.checked("setActive", result)?;
        self.active = true;
        self.midi = self.read_midi_map(self.buses.event_inputs.len());
        self.expressions = self.read_expressions();
        self.given_params = None;
        self.after_activate();
        let params = self.param_specs();
        self.given_params = Some(params.iter().map(|spec| (spec.id, spec.read_only)).collect());

        let (main, audio) = link(self.shared.wake());
        let old = std::mem::replace(&mut self.link, main);
        self.link.carry_over(old);
        let requirements = self.component.cast::<IProcessContextRequirements>();
        let bus = |(bus, &active): (&AudioBus, &bool)| Bus { channels: bus.channels, active };
        let channels =
            |buses: &[EventBus]| -> Vec<u32> { buses.iter().map(|bus| bus.channels).collect() };
        self.activation = activation;
        Ok(Vst3Processor::new(Setup {
            component: self.component.clone(),
            processor: self.processor.clone(),
            inputs: self.buses.inputs.iter().zip(&inputs).map(bus).collect(),
            outputs: self.buses.outputs.iter().zip(&outputs).map(bus).collect(),
            event_inputs: channels(&self.buses.event_inputs),
            event_outputs: channels(&self.buses.event_outputs),
            double,
            offline: activation.offline,
            rate: activation.rate,
            max_frames: activation.max_frames,
            // SAFETY: see the file's text.
            context_requirements: requirements
                .map_or(u32::MAX, |r| unsafe { r.getProcessContextRequirements() }),
            midi: self.midi.clone(),
            expressions: self.expressions.clone(),
            params,
            link: audio,
        }))
    }

    /// Gives an inactive plugin the values that wait for its processor. That takes values in blocks
    /// only, so it is activated for one without audio.
    pub(super) fn flush_edits(&mut self) {
        if self.active || !self.link.has_edits() {
            return;
        }
        let flushed = self.activate_processor(self.activation).map(|mut processor| {
            let mut well = processor.start();
            while well && self.link.has_edits() {
                well = processor.flush();
            }
            processor.stop();
            well
        });
        let result = match flushed {
            Ok(true) => self.deactivate(),
            Ok(false) => {
                let refused = self.call_failed("process", "it took no values without audio");
                self.deactivate().and(Err(refused))
            }
            Err(error) => Err(error),
        };
        if let Err(error) = result {
            self.log(3, &error.to_string());
        }
        // What the block changed.
        self.take_news();
    }
}

impl Instance for Vst3Instance {
    fn info(&mut self) -> PluginInfo {
        // The controller may not have heard yet what happened to the processor.
        self.take_news();
        self.shared.wishes.params.fulfil();
        self.refresh_buses();
        let controller = self.controller.as_ref();
        PluginInfo {
            descriptor: self.descriptor.clone(),
            format: Format::Vst3,
            inputs: buses::audio_ports(&self.buses.inputs),
            outputs: buses::audio_ports(&self.buses.outputs),
            note_inputs: self.note_inputs(),
            note_outputs: buses::note_ports(&self.buses.event_outputs),
            params: controller.map_or_else(Vec::new, |c| params::list(c, self.units.as_ref())),
            has_state: true,
            // To ask for the view would be to make it, and one that hangs or crashes then is none of
            // the audio's business. Whoever opens it finds out.
            has_editor: controller.is_some()
                && !self.editor.as_ref().is_some_and(ViewEditor::is_known_to_be_missing),
            presets: self.units.as_ref().map(programs::list).unwrap_or_default(),
            ..PluginInfo::default()
        }
    }

    fn channels(&mut self) -> (Vec<u32>, Vec<u32>) {
        let channels =
            |buses: &[AudioBus]| -> Vec<u32> { buses.iter().map(|bus| bus.channels).collect() };
        (channels(&self.buses.inputs), channels(&self.buses.outputs))
    }

    fn arrange(&mut self, channels: u32) {
        if self.active {
            return;
        }
        match Buses::ask(&self.component, &self.processor, channels) {
            Ok(buses) => self.buses = buses,
            Err(error) => self.log(6, &error),
        }
    }

    fn activate(&mut self, activation: Activation) -> Result<Box<dyn Processor>, PluginError> {
        Ok(Box::new(self.activate_processor(activation)?))
    }

    fn deactivate(&mut self) -> Result<(), PluginError> {
        self.active = false;
        self.given_params = None;
        // SAFETY: see the file's text.
        let result = unsafe { self.component.setActive(0) };
        self.checked("setActive", result)
    }

    fn latency(&mut self) -> u32 {
        if self.active { self.latency.told } else { 0 }
    }

    fn tail(&mut self) -> u32 {
        // SAFETY: see the file's text.
        unsafe { self.processor.getTailSamples() }
    }

    fn value_to_text(&mut self, param: u32, value: f64) -> Option<String> {
        params::value_to_text(self.controller.as_ref()?, param, value)
    }

    fn text_to_value(&mut self, param: u32, text: &str) -> Option<f64> {
        params::text_to_value(self.controller.as_ref()?, param, text)
    }

    fn save_state(&mut self, context: StateContext) -> Result<Vec<u8>, PluginError> {
        self.save(context)
    }

    fn load_state(&mut self, state: &[u8], context: StateContext) -> Result<(), PluginError> {
        self.restore(state, context, None)
    }

    fn set_params(&mut self, values: &[(u32, f64)]) -> Result<(), PluginError> {
        self.set_inactive(values)
    }

    fn load_preset(&mut self, preset: &Preset) -> Result<(), PluginError> {
        match (&preset.file, &preset.key) {
            (Some(file), _) => self.load_preset_file(file),
            (None, Some(key)) => self.choose_program(key),
            (None, None) => Err(self.call_failed("load_preset", "neither a file nor a program")),
        }
    }

    fn idle(&mut self) -> Option<Instant> {
        let next = self.run_loop.run_timers();
        self.take_news();
        next
    }

    fn editor(&mut self) -> Option<&mut dyn Editor> {
        if self.editor.is_none() {
            let controller = self.controller.as_ref()?;
            let wake = self.shared.wake();
            self.editor = Some(ViewEditor::new(&self.name, controller, &self.run_loop, wake));
        }
        self.editor.as_mut().map(|editor| editor as &mut dyn Editor)
    }

    fn add_watched(&self, all: &mut Vec<(Watched, Readiness)>) {
        self.run_loop.add_watched(all);
    }

    fn watched_ready(&mut self, watched: Watched, ready: Readiness) {
        if let Err(said) = self.run_loop.ready(watched, ready) {
            self.log(6, &said);
        }
    }

    fn take_notice(&mut self) -> Option<Notice> {
        if self.notices.is_empty() {
            self.take_news();
        }
        self.next_notice()
    }
}

impl Drop for Vst3Instance {
    fn drop(&mut self) {
        self.editor = None;
        // What the objects left there may not outlive them.
        self.run_loop.clear();
        // SAFETY: see the file's text. The processor is gone (contract of `deactivate`).
        unsafe {
            if self.active {
                self.component.setActive(0);
            }
            if let Some(controller) = &self.controller {
                controller.setComponentHandler(std::ptr::null_mut());
            }
            drop(self.connection.take());
            // What other threads sent holds references to both.
            while self.shared.take_letter().is_some() {}
            self.component.terminate();
            self.units = None;
            if let Some(controller) = self.controller.take()
                && self.separate
            {
                controller.terminate();
            }
        }
    }
}
