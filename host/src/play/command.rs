//! What a playing rig can be told.

use crate::rig::{DriverSettings, Id, Mapping, MidiInput, MidiOutput, Output, Send, TrackKind};
use sandrack_sandbox::format::{PluginRef, Preset};
use std::path::PathBuf;

/// What a [`Player`](super::Player) is told. What makes no sense is answered by a message in the
/// [`View`](super::View), and changes nothing.
///
/// Everything that changes the rig can be [undone](Self::Undo), notes, transport, editors and the
/// driver's settings apart.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Loads a plugin into a track.
    AddPlugin {
        /// The track.
        track: Id,
        /// Place in it, from 0; `None`, or beyond its end: the last.
        place: Option<usize>,
        /// Which.
        plugin: PluginRef,
        /// Plugins with the same word share a process; `None`: one of its own.
        group: Option<String>,
    },
    /// Takes a plugin out of the rig.
    RemovePlugin(Id),
    /// Puts a plugin elsewhere, in its track or another.
    MovePlugin {
        /// Which.
        plugin: Id,
        /// The track it goes to.
        track: Id,
        /// Place in it, from 0, as of when it has been taken out of where it is.
        place: usize,
    },
    /// Puts another plugin in the place of one.
    ReplacePlugin {
        /// Which.
        plugin: Id,
        /// By what.
        by: PluginRef,
    },
    /// Gives a plugin another name; an empty one: what it calls itself.
    RenamePlugin(Id, String),
    /// Lets a plugin be heard as if it were not there, or again.
    Bypass(Id, bool),
    /// Sets what a plugin may do; it is started anew for that, and keeps its state.
    Grant(Id, crate::rig::Grants),
    /// Sets what goes to a plugin's inputs beside its main one.
    SetSideChains(Id, Vec<crate::rig::SideChain>),
    /// Sets a parameter, in the plugin's own range. Takes hold at the start of the next block.
    SetParam(Id, u32, f64),
    /// Gives a plugin a preset.
    LoadPreset(Id, Preset),
    /// Opens a plugin's own window, or brings it to the front.
    OpenEditor(Id),
    /// Closes it.
    CloseEditor(Id),
    /// Ends a plugin's process and starts another, which goes on in its place with its state: what
    /// recovery does by itself. Tries again with one in quarantine, and looks for a missing one.
    Restart(Id),

    /// Adds a track or bus.
    AddTrack {
        /// Its name.
        name: String,
        /// What it is for.
        kind: TrackKind,
        /// Place among the tracks, from 0; `None`, or beyond the end: the last.
        place: Option<usize>,
    },
    /// Takes a track out of the rig, with its plugins. What went to it goes to the driver.
    RemoveTrack(Id),
    /// Puts a track elsewhere in the order.
    MoveTrack(Id, usize),
    /// Gives a track another name.
    RenameTrack(Id, String),
    /// Moves a track's fader, to dB; -inf: silent.
    SetGain(Id, f64),
    /// -1 left ..= 1 right.
    SetPan(Id, f64),
    /// Silences a track, or not.
    Mute(Id, bool),
    /// Silences all other tracks that are not solo, or not.
    Solo(Id, bool),
    /// Channels of the driver that a track plays, from 1; none: nothing.
    SetInput(Id, Vec<u32>),
    /// Where a track goes.
    SetOutput(Id, Output),
    /// Adds a send, or changes the one to the same bus.
    SetSend(Id, Send),
    /// Takes a send away: track, bus.
    RemoveSend(Id, Id),
    /// Which notes a track plays.
    SetMidi(Id, Vec<MidiInput>),
    /// MIDI ports that get what a track plays.
    SetMidiOut(Id, Vec<MidiOutput>),
    /// MIDI ports that get the notes which a plugin puts out.
    SetPluginMidiOut(Id, Vec<MidiOutput>),
    /// The MIDI port whose clock leads tempo and position, by a part of its name; `None`: none does.
    SetClock(Option<String>),
    /// MIDI ports that get a clock, by parts of their names.
    SetClockOut(Vec<String>),

    /// Begins a note of a track: key 0 ..= 127, velocity 0 ..= 1.
    NoteOn {
        /// The track.
        track: Id,
        /// 60 is middle C.
        key: u8,
        /// 0 ..= 1.
        velocity: f64,
    },
    /// Ends it.
    NoteOff {
        /// The track.
        track: Id,
        /// 60 is middle C.
        key: u8,
    },
    /// A MIDI message, as if it came from a port of this name: goes to the tracks that play it.
    Midi {
        /// The port.
        port: String,
        /// Status and data bytes.
        data: [u8; 3],
    },
    /// Ends all notes, everywhere.
    Panic,
    /// Lets the song position move, or not.
    Transport(bool),
    /// Quarter notes per minute.
    Tempo(f64),
    /// Song position, in quarter notes.
    Locate(f64),

    /// Keeps the present settings under a name.
    StoreSnapshot(String),
    /// Keeps the present settings in place of a snapshot's.
    UpdateSnapshot(Id),
    /// Switches to a snapshot.
    RecallSnapshot(Id),
    /// Gives a snapshot another name.
    RenameSnapshot(Id, String),
    /// Which MIDI program (1 ..= 128) or key recalls a snapshot.
    BindSnapshot(Id, Option<u8>, Option<u8>),
    /// Takes a snapshot out of the rig.
    RemoveSnapshot(Id),
    /// The next controller that moves is to move this parameter; `None`: not after all.
    Learn(Option<(Id, u32)>),
    /// The next two keys that are pressed are to be the ends of a range of keys of a track: which of
    /// its ranges, from 0 (or a new one). `None`: not after all.
    LearnKeys(Option<(Id, usize)>),
    /// The next key that is pressed, or the next program, is to recall this snapshot; `None`: not
    /// after all.
    LearnSnapshot(Option<Id>),
    /// Takes away what controllers do to a parameter.
    Forget(Id, u32),
    /// The next controller, key or program is to do this, in place of what did it before; which control
    /// it says counts for nothing. `None`: not after all.
    LearnMapping(Option<Mapping>),
    /// Adds a mapping.
    AddMapping(Mapping),
    /// Takes a mapping away.
    RemoveMapping(Mapping),
    /// A tap of the tempo: the second one in a row sets it, further ones make it more exact.
    TapTempo,
    /// Recalls the snapshot so many places behind the one that was recalled last.
    StepSnapshot(isize),

    /// Another name for the rig.
    RenameRig(String),
    /// Saves the rig now.
    Save,
    /// Saves the rig to a file, which is its file from then on.
    SaveAs(PathBuf),
    /// Saves this rig and plays another in its place.
    Load(PathBuf),
    /// Takes back the last change.
    Undo,
    /// Makes it again.
    Redo,

    /// Connects one of the driver's ports to another program's or device's, or not any more.
    Connect {
        /// The driver's own, without the program's name.
        port: String,
        /// The other's.
        other: String,
        /// Whether they are to be connected.
        on: bool,
    },
    /// Another driver, buffer size or rate; plugins keep their state.
    SetDriver(DriverSettings),
    /// Opens the driver's own settings.
    DriverPanel,
    /// Begins all statistics anew.
    ResetStatistics,
}
