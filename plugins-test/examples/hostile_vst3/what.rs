//! What plugins do: the faults and oddities, and the classes' names and ids.

use vst3::Steinberg::TUID;

use crate::strikes::Strike;

macro_rules! classes {
    ($($what:ident = $name:literal,)*) => {
        /// What a plugin does; the library's first page describes each.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum What {
            $($what,)*
            /// What plugins of every format do.
            Strike(Strike),
        }

        const OWN: &[What] = &[$(What::$what,)*];

        impl What {
            /// The class's name.
            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$what => $name,)*
                    Self::Strike(strike) => strike.vst3_name(),
                }
            }
        }
    };
}

classes! {
    Any = "Hostile any",
    CreateFails = "Hostile create-fails",
    CreateNull = "Hostile create-null",
    SetupFails = "Hostile setup-fails",
    BadParams = "Hostile bad-params",
    ParamFlood = "Hostile param-flood",
    BadSilence = "Hostile bad-silence",
    MovesBuffers = "Hostile moves-buffers",
    Releases = "Hostile releases",
    Keeps = "Hostile keeps",
    ParamListChanges = "Hostile param-list-changes",
    RestartFlood = "Hostile restart-flood",
    AllErrors = "Hostile all-errors",
    StateSaveEndless = "Hostile state-save-endless",
    SplitStateHangs = "Hostile split-state-hangs",
    SplitStateFails = "Hostile split-state-fails",
    ViewAborts = "Hostile view-aborts",
    ViewHangs = "Hostile view-hangs",
    NegativeBuses = "Hostile negative-buses",
    MillionBuses = "Hostile million-buses",
    ThousandChannels = "Hostile thousand-channels",
    NegativeParams = "Hostile negative-params",
    LiesParams = "Hostile lies-params",
    Agrees = "Hostile agrees",
    Grows = "Hostile grows",
    OddAdapts = "Odd adapts",
    OddMonoFirst = "Odd mono-first",
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
    OddRemaps = "Odd remaps",
    OddStateless = "Odd stateless",
    OddTwins = "Odd twins",
    OddWide = "Odd wide",
}

impl What {
    /// All of them.
    pub(crate) fn all() -> impl ExactSizeIterator<Item = Self> {
        let count = OWN.len() + Strike::ALL.len();
        (0..count).map(|at| match OWN.get(at) {
            Some(what) => *what,
            None => Self::Strike(Strike::ALL[at - OWN.len()]),
        })
    }
}

impl What {
    /// The class's id: its name, as FNV-1a counts it, behind eight letters.
    pub(crate) const fn id(self) -> TUID {
        id(b"SRHOSTIL", self.name())
    }

    /// Of the controller, where it is a class of its own.
    pub(crate) const fn controller_id(self) -> TUID {
        id(b"SRHOSTCT", self.controller().name())
    }

    /// Whose controller it has.
    pub(crate) const fn controller(self) -> Self {
        match self {
            Self::OddTwins => self,
            _ => Self::OddSplit,
        }
    }

    /// Whether its controller is a class of its own.
    pub(crate) fn is_split(self) -> bool {
        matches!(
            self,
            Self::OddSplit | Self::OddTwins | Self::SplitStateHangs | Self::SplitStateFails
        )
    }

    /// Whether it has a say in how its main buses are arranged.
    pub(crate) fn is_wide(self) -> bool {
        matches!(
            self,
            Self::Any
                | Self::Strike(_)
                | Self::Agrees
                | Self::Grows
                | Self::OddAdapts
                | Self::OddMonoFirst
        )
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
    let letters = u64::from_be_bytes(*letters);
    // As each system has them: on Windows in the byte order of COM.
    vst3::uid((letters >> 32) as u32, letters as u32, (hash >> 32) as u32, hash as u32)
}
