//! The faults and oddities, and the classes' names and ids.

use vst3::Steinberg::TUID;

macro_rules! classes {
    ($($what:ident = $name:literal,)*) => {
        /// What a plugin does; the library's first page describes each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum What {
            $($what,)*
        }

        impl What {
            pub(crate) const ALL: &[What] = &[$(What::$what,)*];

            /// The class's name.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(What::$what => $name,)*
                }
            }
        }
    };
}

classes! {
    CreateFails = "Hostile create-fails",
    CreateNull = "Hostile create-null",
    InitFails = "Hostile init-fails",
    InitAborts = "Hostile init-aborts",
    InitExits = "Hostile init-exits",
    InitHangs = "Hostile init-hangs",
    SetupFails = "Hostile setup-fails",
    ActivateFails = "Hostile activate-fails",
    ActivateAborts = "Hostile activate-aborts",
    ActivateExits = "Hostile activate-exits",
    ActivateHangs = "Hostile activate-hangs",
    StartFails = "Hostile start-fails",
    Segfault = "Hostile segfault",
    Abort = "Hostile abort",
    Exit = "Hostile exit",
    Hang = "Hostile hang",
    Sleep = "Hostile sleep",
    Late = "Hostile late",
    Nan = "Hostile nan",
    Inf = "Hostile inf",
    Denormal = "Hostile denormal",
    Error = "Hostile error",
    BadEvents = "Hostile bad-events",
    EventFlood = "Hostile event-flood",
    BadParams = "Hostile bad-params",
    ParamFlood = "Hostile param-flood",
    BadSilence = "Hostile bad-silence",
    MovesBuffers = "Hostile moves-buffers",
    Releases = "Hostile releases",
    Keeps = "Hostile keeps",
    ParamListChanges = "Hostile param-list-changes",
    WrongThread = "Hostile wrong-thread",
    RestartFlood = "Hostile restart-flood",
    AllErrors = "Hostile all-errors",
    TerminateAborts = "Hostile terminate-aborts",
    TerminateHangs = "Hostile terminate-hangs",
    StateSaveHangs = "Hostile state-save-hangs",
    StateSaveAborts = "Hostile state-save-aborts",
    StateSaveEndless = "Hostile state-save-endless",
    SplitStateHangs = "Hostile split-state-hangs",
    SplitStateFails = "Hostile split-state-fails",
    StateLoadHangs = "Hostile state-load-hangs",
    StateLoadAborts = "Hostile state-load-aborts",
    ViewAborts = "Hostile view-aborts",
    ViewHangs = "Hostile view-hangs",
    NegativeBuses = "Hostile negative-buses",
    MillionBuses = "Hostile million-buses",
    ThousandChannels = "Hostile thousand-channels",
    NegativeParams = "Hostile negative-params",
    LiesParams = "Hostile lies-params",
    OddDouble = "Odd double",
    OddSplit = "Odd split",
    OddMono = "Odd mono",
    OddBuses = "Odd buses",
    OddLatency = "Odd latency",
    OddMidiOut = "Odd midi-out",
    OddMidiMapping = "Odd midi-mapping",
    OddEmpty = "Odd empty",
    OddAsks = "Odd asks",
    OddPrograms = "Odd programs",
    OddSysex = "Odd sysex",
    OddSilent = "Odd silent",
    OddSloppy = "Odd sloppy",
}

impl What {
    /// The class's id: its name, as FNV-1a counts it, behind eight letters.
    pub(crate) const fn id(self) -> TUID {
        id(b"SRHOSTIL", self.name())
    }

    /// Of the controller, where it is a class of its own.
    pub(crate) const fn controller_id(self) -> TUID {
        id(b"SRHOSTCT", self.name())
    }

    /// Whether its controller is a class of its own.
    pub(crate) fn is_split(self) -> bool {
        matches!(self, Self::OddSplit | Self::SplitStateHangs | Self::SplitStateFails)
    }

    /// Whether it is a plugin that keeps the rules, if in a way not often seen.
    pub(crate) fn is_odd(self) -> bool {
        self.name().starts_with("Odd ")
    }
}

const fn id(letters: &[u8; 8], name: &str) -> TUID {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let (name, mut at) = (name.as_bytes(), 0);
    while at < name.len() {
        hash = (hash ^ name[at] as u64).wrapping_mul(0x0100_0000_01b3);
        at += 1;
    }
    let (hash, mut id, mut at) = (hash.to_be_bytes(), [0; 16], 0);
    while at < 8 {
        id[at] = letters[at] as i8;
        id[at + 8] = hash[at] as i8;
        at += 1;
    }
    id
}
