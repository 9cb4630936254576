//! What each step of a block does. In which order they run is decided in `schedule`.

use std::mem::take;

use crate::compile::layout::{EngineSource, Gather, Step};
use crate::fallback::{self, Heard, Stride};
use crate::graph::{Fallback, NodeKind};
use crate::mix::{self, Channels};
use crate::processor::{AudioIo, EventIo, Inputs, Outputs};
use crate::remote::{RemoteIndex, SourceIndex};
use crate::schedule::Run;
use crate::timing::{NodeOutcome, NodeRecord, Record};

impl Run<'_> {
    pub(crate) fn step(&mut self, step: Step) {
        match step {
            Step::Local(node) => self.local(node as usize),
            Step::Feed(remote) => self.feed(remote as usize),
            Step::Out(remote) => self.out(remote as usize),
        }
    }

    fn at(&self) -> Stride {
        Stride { stride: self.layout.max_frames, frames: self.block.frames as usize }
    }

    /// A local node.
    fn local(&mut self, at: usize) {
        self.gather(at);
        self.gather_events(at);
        let node = &self.layout.nodes[at];
        match node.kind {
            NodeKind::Input { first_channel } => self.read_driver(at, first_channel as usize),
            NodeKind::Sum | NodeKind::Output { .. } => {}
            NodeKind::Plugin { .. } => self.local_plugin(at),
            _ => {
                self.process(at);
            }
        }
        if node.event_output && !matches!(node.kind, NodeKind::Plugin { .. }) {
            let output = &mut self.rt.events_out[at];
            output.clear();
            for event in self.rt.events_in[at].as_slice() {
                if event.kind.passes_on() && !output.push(*event) {
                    self.context.lost_events += 1;
                }
            }
        }
        let events = &mut self.rt.events_in[at];
        match self.rt.locals[at].is_absent() {
            // Taken out: it will be back, and is to be as it was set meanwhile.
            true => events.hold(|kind| !kind.starts_note()),
            false => events.clear(),
        }
    }

    fn read_driver(&mut self, at: usize, first: usize) {
        let Stride { stride, frames } = self.at();
        let Some(bus) = self.layout.nodes[at].out_buses.first() else { return };
        for channel in 0..bus.channels {
            let into = &mut self.rt.buffers[bus.buffer][channel * stride..][..frames];
            let from = self.inputs.get(first + channel).copied().unwrap_or(&[]);
            match from.get(self.offset..self.offset + frames) {
                Some(from) => into.copy_from_slice(from),
                None => into.fill(0.0),
            }
        }
    }

    /// Writes the driver's outputs, in the order of the output nodes.
    pub(crate) fn write_driver(&mut self, outputs: &mut [&mut [f32]]) {
        let Stride { stride, frames } = self.at();
        let part = self.offset..self.offset + frames;
        for output in outputs.iter_mut() {
            if let Some(output) = output.get_mut(part.clone()) {
                output.fill(0.0);
            }
        }
        for node in &self.layout.sinks {
            let node = &self.layout.nodes[*node as usize];
            let (NodeKind::Output { first_channel }, Some(bus)) =
                (node.kind, node.in_buses.first())
            else {
                continue;
            };
            for channel in 0..bus.channels {
                let output = outputs.get_mut(first_channel as usize + channel);
                let Some(output) = output.and_then(|o| o.get_mut(part.clone())) else { continue };
                let from = &self.rt.buffers[bus.buffer][channel * stride..][..frames];
                for (out, sample) in output.iter_mut().zip(from) {
                    *out += sample;
                }
            }
        }
    }

    /// Runs a processor. `None`: there is none.
    fn process(&mut self, at: usize) -> Option<bool> {
        let Stride { stride, frames } = self.at();
        let node = &self.layout.nodes[at];
        let rt = &mut *self.rt;
        rt.events_out[at].clear();
        let processor = rt.locals[at].processor()?;
        for bus in &node.out_buses {
            rt.taken.push(take(&mut rt.buffers[bus.buffer]));
        }
        let audio = AudioIo {
            inputs: Inputs::new(&rt.buffers, &node.in_buses, stride, frames),
            outputs: Outputs::new(&mut rt.taken, &node.out_buses, stride, frames),
        };
        let lost = rt.events_out[at].dropped();
        let events = EventIo { input: rt.events_in[at].as_slice(), output: &mut rt.events_out[at] };
        let ok = processor.process(self.block, audio, events);
        self.context.lost_events += rt.events_out[at].dropped() - lost;
        for bus in node.out_buses.iter().rev() {
            if let Some(buffer) = rt.taken.pop() {
                rt.buffers[bus.buffer] = buffer;
            }
        }
        Some(ok)
    }

    fn local_plugin(&mut self, at: usize) {
        let node = &self.layout.nodes[at];
        let Stride { stride, frames } = self.at();
        if let Some(processor) = self.rt.locals[at].processor() {
            processor.set_notes(self.rt.mutes[at].bypass);
        }
        let start = (self.context.clock)();
        let ok = self.process(at);
        let end = (self.context.clock)();
        self.local_time += end.saturating_sub(start);
        let mut outcome = match ok {
            Some(true) => NodeOutcome::Finished,
            Some(false) => NodeOutcome::Failed,
            None => NodeOutcome::Gone,
        };
        let usable = outcome == NodeOutcome::Finished;
        if !usable {
            self.rt.events_out[at].clear();
        }
        let plays = usable && !self.rt.mutes[at].is_on();
        let number = self.block.number;
        let events = self.rt.events_out[at].as_slice();
        self.context.tell(node.id, number, events);
        self.context.lost_events += self.context.taps.hear(node.id, usable.then_some(events));
        let back = |heard: Option<Heard>| heard == Some(Heard::Fallback);
        let crosses = back(self.rt.declick[at].first().map(|d| d.heard(number)));
        let dry = node.fallback == Fallback::Dry && (node.history || !plays || crosses);
        if dry {
            let source = Inputs::new(&self.rt.buffers, &node.in_buses, stride, frames).bus(0);
            let channels = source.channels;
            mix::accumulate(&mut self.rt.dry_in, channels, source, frames, true);
            self.finish_dry(at);
        }
        for (bus, place) in node.out_buses.iter().enumerate() {
            let mut audio = take(&mut self.rt.buffers[place.buffer]);
            let heard = self.rt.declick[at][bus].heard(number);
            for channel in 0..place.channels {
                let audio = &mut audio[channel * stride..][..frames];
                if usable && !mix::scrub(audio) {
                    outcome = NodeOutcome::NotFinite;
                }
                if plays && heard == Heard::Plugin {
                    continue;
                }
                let plugin = &mut self.rt.channel[..frames];
                plugin.copy_from_slice(audio);
                if dry && bus == 0 {
                    audio.copy_from_slice(&self.rt.dry[channel * stride..][..frames]);
                } else {
                    audio.fill(0.0);
                }
                let last = self.rt.declick[at][bus].last(number, channel);
                if plays {
                    let from = self.rt.declick[at][bus].start(number, channel, audio[0]);
                    fallback::cross_over(audio, plugin, from, self.context.ramp);
                } else if heard == Heard::Plugin && usable {
                    fallback::cross_to(audio, plugin, self.context.ramp);
                } else if heard == Heard::Plugin {
                    fallback::fade_in(audio, last, self.context.ramp);
                }
            }
            let heard = if plays { Heard::Plugin } else { Heard::Fallback };
            let stride = Stride { stride, frames };
            self.rt.declick[at][bus].remember(number, heard, &audio, stride);
            self.rt.buffers[place.buffer] = audio;
        }
        if outcome == NodeOutcome::Gone {
            self.absent += 1;
        }
        let (block, node) = (number, node.id);
        self.context.recorder.record(Record::Node(NodeRecord {
            block,
            node,
            ready: start,
            start,
            end,
            outcome,
        }));
    }

    /// Sums what the engine brings to each input bus.
    fn gather(&mut self, at: usize) {
        let Stride { stride, frames } = self.at();
        let layout = self.layout;
        let rt = &mut *self.rt;
        for input in &layout.nodes[at].inputs {
            let Gather::Sum(value) = input.gather else { continue };
            let place = layout.values[value as usize].buffer;
            let mut sum = take(&mut rt.buffers[place]);
            for (at, EngineSource { value, line }) in input.engine.iter().enumerate() {
                let value = &layout.values[*value as usize];
                let (samples, channels) = (&rt.buffers[value.buffer][..], value.channels);
                let mut source = Channels { samples, channels, stride };
                if let Some(line) = line {
                    let line = &mut rt.lines[*line as usize];
                    for channel in 0..channels {
                        let into = &mut rt.delayed[channel * stride..][..frames];
                        line.run(channel, source.get(channel, frames), into);
                    }
                    line.advance(frames);
                    source = Channels { samples: &rt.delayed, channels, stride };
                }
                mix::accumulate(&mut sum, input.channels, source, frames, at == 0);
            }
            if input.engine.is_empty() {
                mix::silence(&mut sum, input.channels, stride, frames);
            }
            rt.buffers[place] = sum;
        }
    }

    /// Adds the events that the engine brings to those that the controller sent.
    fn gather_events(&mut self, at: usize) {
        let rt = &mut *self.rt;
        let (now, frames) = (self.block.steady_time, self.block.frames as usize);
        let into = &mut rt.events_in[at];
        let lost = into.dropped();
        for source in &self.layout.nodes[at].events {
            let events = rt.events_out[source.node as usize].as_slice();
            let events = events.iter().filter(|event| event.kind.passes_on());
            if let Some(line) = source.line {
                let line = &mut rt.event_lines[line as usize];
                let lost = line.dropped;
                events.for_each(|event| line.push(now, *event));
                line.pop(now, frames, into);
                self.context.lost_events += line.dropped - lost;
            } else {
                events.for_each(|event| {
                    into.push(*event);
                });
            }
        }
        self.context.lost_events += into.dropped() - lost;
    }

    /// What a remote node gets from the engine. For one that does not take part, or can't start
    /// any more, only what its fallback needs.
    fn feed(&mut self, remote: usize) {
        let layout = self.layout;
        let at = layout.remotes[remote].node as usize;
        self.gather(at);
        self.gather_events(at);
        if self.expired || !self.rt.agenda.unrung.has(remote) {
            return;
        }
        let Stride { stride, frames } = self.at();
        let (rt, driver) = (&mut *self.rt, &mut *self.remote);
        let index = RemoteIndex(remote as u32);
        let replaced = rt.remotes[remote].replaced;
        let node = &layout.nodes[at];
        for (input, bus) in node.inputs.iter().zip(&node.in_buses) {
            if let Some(source) = input.engine_source {
                for channel in 0..input.channels {
                    let from = &rt.buffers[bus.buffer][channel * stride..][..frames];
                    let into = driver.input(index, SourceIndex(source), channel as u32);
                    into[..frames].copy_from_slice(from);
                }
            }
            if replaced == 0 {
                continue;
            }
            for direct in input.direct.iter().filter(|d| replaced & (1 << d.source) != 0) {
                let from = &layout.nodes[layout.remotes[direct.remote as usize].node as usize];
                let bus = from.out_buses[direct.bus as usize];
                let (samples, channels) = (&rt.buffers[bus.buffer][..], bus.channels);
                let source = Channels { samples, channels, stride };
                for channel in 0..input.channels {
                    let into = driver.input(index, SourceIndex(direct.source), channel as u32);
                    mix::convert(source, channel, input.channels, &mut into[..frames], true);
                }
            }
        }
        for event in rt.events_in[at].as_slice() {
            if !driver.push_event(index, event) {
                self.context.lost_events += 1;
            }
        }
        driver.ring(index);
        rt.agenda.unrung.clear(remote);
        self.launch(remote);
    }

    /// A remote node's output as the rest of the graph gets it.
    fn out(&mut self, remote: usize) {
        let layout = self.layout;
        let at = layout.remotes[remote].node as usize;
        let node = &layout.nodes[at];
        let Stride { stride, frames } = self.at();
        let index = RemoteIndex(remote as u32);
        let outcome = self.rt.remotes[remote].outcome;
        let usable = outcome == NodeOutcome::Finished;
        if usable || outcome == NodeOutcome::Failed {
            self.rt.remotes[remote].times = self.remote.times(index);
        }
        let number = self.block.number;
        let events = &mut self.rt.events_out[at];
        events.clear();
        if usable {
            let lost = events.dropped();
            self.remote.events(index, events);
            self.context.lost_events += events.dropped() - lost;
            self.context.tell(node.id, number, events.as_slice());
        }
        let events = usable.then_some(events.as_slice());
        self.context.lost_events += self.context.taps.hear(node.id, events);
        let plays = usable && !self.rt.remotes[remote].muted;
        // Whether the engine hands the output on to a remote node that else would read it itself.
        let carried = !self.normal
            && layout.links_from.of(remote).iter().any(|l| self.rt.agenda.carried.has(*l as usize));
        let read = |bus: usize| carried || node.read[bus];
        let heard = |run: &Self, bus: usize| run.rt.declick[at][bus].heard(number);
        let dry = node.fallback == Fallback::Dry
            && (node.history || !plays || (read(0) && heard(self, 0) == Heard::Fallback));
        if dry {
            self.dry_input(at);
            self.finish_dry(at);
        }
        let state = self.rt.remotes[remote];
        let mut jolts = state.jolted || state.failed || outcome == NodeOutcome::Failed;
        for (bus, place) in node.out_buses.iter().enumerate() {
            if plays && !read(bus) {
                // Read if somebody wants it, see `fill`.
                continue;
            }
            let (knows, heard) = (self.rt.declick[at][bus].knows(number), heard(self, bus));
            let rt = &mut *self.rt;
            let mut audio = take(&mut rt.buffers[place.buffer]);
            let mut finite = true;
            for channel in 0..place.channels {
                let last = rt.declick[at][bus].last(number, channel);
                let audio = &mut audio[channel * stride..][..frames];
                if plays && heard == Heard::Plugin {
                    finite &= self.remote.output(index, bus as u32, channel as u32, audio);
                    if state.jolted && knows {
                        fallback::fade_in(audio, last, self.context.ramp);
                    }
                    continue;
                }
                if dry && bus == 0 {
                    audio.copy_from_slice(&rt.dry[channel * stride..][..frames]);
                } else {
                    audio.fill(0.0);
                }
                if usable {
                    let plugin = &mut rt.channel[..frames];
                    finite &= self.remote.output(index, bus as u32, channel as u32, plugin);
                    if plays {
                        let from = rt.declick[at][bus].start(number, channel, audio[0]);
                        fallback::cross_over(audio, plugin, from, self.context.ramp);
                    } else if heard == Heard::Plugin {
                        fallback::cross_to(audio, plugin, self.context.ramp);
                    }
                } else if heard == Heard::Plugin && (knows || read(bus)) {
                    fallback::fade_in(audio, last, self.context.ramp);
                }
            }
            // Who reads it by way of the engine now read it directly before.
            jolts |= carried && !usable && !knows;
            let heard = if plays { Heard::Plugin } else { Heard::Fallback };
            rt.declick[at][bus].remember(number, heard, &audio, Stride { stride, frames });
            rt.buffers[place.buffer] = audio;
            rt.filled[node.outputs[bus] as usize] = number;
            if !finite {
                rt.remotes[remote].outcome = NodeOutcome::NotFinite;
            }
        }
        if jolts {
            for link in layout.links_from.of(remote) {
                let to = layout.links[*link as usize].to;
                self.rt.remotes[to as usize].jolted = true;
            }
        }
    }

    /// Reads an output of a finished remote node that the engine otherwise has no use for.
    fn fill(&mut self, remote: usize, bus: usize) {
        let at = self.at();
        let number = self.block.number;
        let place = self.layout.remotes[remote].node as usize;
        let node = &self.layout.nodes[place];
        let value = node.outputs[bus] as usize;
        if self.rt.filled[value] == number {
            return;
        }
        self.rt.filled[value] = number;
        let jolted = self.rt.remotes[remote].jolted;
        let declick = &mut self.rt.declick[place][bus];
        let jumps = declick.heard(number) == Heard::Fallback || (jolted && declick.knows(number));
        let audio = &mut self.rt.buffers[node.out_buses[bus].buffer];
        for channel in 0..node.out_buses[bus].channels {
            let into = &mut audio[channel * at.stride..][..at.frames];
            let index = RemoteIndex(remote as u32);
            if !self.remote.output(index, bus as u32, channel as u32, into) {
                self.rt.remotes[remote].outcome = NodeOutcome::NotFinite;
            }
            if jumps {
                fallback::fade_in(into, declick.last(number, channel), self.context.ramp);
            }
        }
        declick.remember(number, Heard::Plugin, audio, at);
    }

    /// Sums the main input of a remote node as the node itself does, into `dry_in`.
    fn dry_input(&mut self, at: usize) {
        let Stride { stride, frames } = self.at();
        let layout = self.layout;
        let node = &layout.nodes[at];
        let (input, bus) = (&node.inputs[0], node.in_buses[0]);
        let mut first = true;
        if input.gather != Gather::Silent {
            let (samples, channels) = (&self.rt.buffers[bus.buffer][..], bus.channels);
            let source = Channels { samples, channels, stride };
            mix::accumulate(&mut self.rt.dry_in, input.channels, source, frames, true);
            first = false;
        }
        for direct in &input.direct {
            self.fill(direct.remote as usize, direct.bus as usize);
            let from = &layout.nodes[layout.remotes[direct.remote as usize].node as usize];
            let place = from.out_buses[direct.bus as usize];
            let rt = &mut *self.rt;
            let (samples, channels) = (&rt.buffers[place.buffer][..], place.channels);
            let mut source = Channels { samples, channels, stride };
            if let Some(line) = direct.line {
                let line = &mut rt.lines[line as usize];
                for channel in 0..channels {
                    let into = &mut rt.delayed[channel * stride..][..frames];
                    line.run(channel, source.get(channel, frames), into);
                }
                line.advance(frames);
                source = Channels { samples: &rt.delayed, channels, stride };
            }
            mix::accumulate(&mut rt.dry_in, input.channels, source, frames, first);
            first = false;
        }
        if first {
            mix::silence(&mut self.rt.dry_in, input.channels, stride, frames);
        }
    }

    /// From `dry_in` to `dry`: by the node's latency, to the channels of its output.
    fn finish_dry(&mut self, at: usize) {
        let Stride { stride, frames } = self.at();
        let node = &self.layout.nodes[at];
        let (channels, wanted) = (node.in_buses[0].channels, node.out_buses[0].channels);
        let rt = &mut *self.rt;
        let mut source = Channels { samples: &rt.dry_in, channels, stride };
        if let Some(line) = node.dry_line {
            let line = &mut rt.lines[line as usize];
            for channel in 0..channels {
                let into = &mut rt.delayed[channel * stride..][..frames];
                line.run(channel, source.get(channel, frames), into);
            }
            line.advance(frames);
            source = Channels { samples: &rt.delayed, channels, stride };
        }
        fallback::dry(source, &mut rt.dry, wanted, frames);
    }
}
