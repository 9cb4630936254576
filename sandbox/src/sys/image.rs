//! For which system and machine a library is, told by its first bytes.

use std::fmt;

/// Bytes of a file's beginning that are looked at.
pub const HEAD: usize = 4096;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image {
    /// A library or program of Linux and its like.
    Elf(Machine),
    /// Of Windows.
    Pe(Machine),
    /// Of macOS.
    MachO,
    /// Something else.
    Other,
    /// The file has no bytes.
    Empty,
}

/// The processor that a library is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// Any of 32 bits.
    Bits32,
    /// x86_64.
    X86_64,
    /// aarch64.
    Aarch64,
    /// Another, by the format's number.
    Other(u16),
    /// The file ends before it says.
    CutShort,
}

impl Image {
    /// Tells what begins with these bytes, [`HEAD`] of them or as many as there are.
    pub fn of(head: &[u8]) -> Self {
        match head {
            [] => Self::Empty,
            _ if head.starts_with(b"\x7fELF") => Self::Elf(elf_machine(head)),
            _ if head.starts_with(b"MZ") => Self::Pe(pe_machine(head)),
            [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => Self::MachO,
            _ => Self::Other,
        }
    }
}

/// For a file that is not what is wanted.
impl fmt::Display for Image {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Elf(_) => "it is a Linux library",
            Self::Pe(_) => "it is a Windows library",
            Self::MachO => "it is a macOS library",
            Self::Other => "it is not a library of this system",
            Self::Empty => "it is empty",
        })
    }
}

impl Machine {
    /// Whether it is this one; the error says what is wrong.
    pub fn check(self) -> Result<(), String> {
        let built_for = match self {
            Self::X86_64 => "x86_64".to_owned(),
            Self::Aarch64 => "aarch64".to_owned(),
            Self::Bits32 => {
                return Err("it is a 32-bit library; this is a 64-bit program".into());
            }
            Self::CutShort => return Err("it is cut short".into()),
            Self::Other(243) => "RISC-V".to_owned(),
            Self::Other(number) => format!("machine number {number}"),
        };
        if built_for == std::env::consts::ARCH {
            return Ok(());
        }
        Err(format!("it is built for {built_for}, this machine is {}", std::env::consts::ARCH))
    }
}

fn u16_at(head: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(head.get(at..at + 2)?.try_into().ok()?))
}

fn elf_machine(head: &[u8]) -> Machine {
    if head.get(4).is_some_and(|&class| class != 2) {
        return Machine::Bits32;
    }
    match u16_at(head, 18) {
        Some(62) => Machine::X86_64,
        Some(183) => Machine::Aarch64,
        Some(number) => Machine::Other(number),
        None => Machine::CutShort,
    }
}

fn pe_machine(head: &[u8]) -> Machine {
    // Where the header of the real thing begins, behind a program for DOS.
    let Some(at) = head.get(0x3c..0x40).and_then(|at| at.try_into().ok()).map(u32::from_le_bytes)
    else {
        return Machine::CutShort;
    };
    let at = at as usize;
    match (head.get(at..at.saturating_add(4)), u16_at(head, at.saturating_add(4))) {
        (Some(b"PE\0\0"), Some(machine)) => match machine {
            0x8664 => Machine::X86_64,
            0xaa64 => Machine::Aarch64,
            0x14c | 0x1c4 => Machine::Bits32,
            other => Machine::Other(other),
        },
        (Some(_), Some(_)) => Machine::Bits32,
        _ => Machine::CutShort,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pe(machine: u16) -> Vec<u8> {
        let mut head = vec![0; 0x100];
        head[..2].copy_from_slice(b"MZ");
        head[0x3c] = 0x80;
        head[0x80..0x84].copy_from_slice(b"PE\0\0");
        head[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
        head
    }

    #[test]
    fn libraries_are_told_by_their_heads() {
        assert_eq!(Image::of(&pe(0x8664)), Image::Pe(Machine::X86_64));
        assert_eq!(Image::of(&pe(0x14c)), Image::Pe(Machine::Bits32));
        assert_eq!(Image::of(&pe(0x8664)[..0x60]), Image::Pe(Machine::CutShort));
        assert_eq!(Image::of(b"MZ\x90"), Image::Pe(Machine::CutShort));
        assert_eq!(Image::of(b"\x7fELF\x01"), Image::Elf(Machine::Bits32));
        assert_eq!(Image::of(b"\x7fELF\x02"), Image::Elf(Machine::CutShort));
        let far = [pe(0)[..0x3c].to_vec(), vec![0xff; 8]].concat();
        assert_eq!(Image::of(&far), Image::Pe(Machine::CutShort));
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let (Image::Elf(machine) | Image::Pe(machine)) = Image::of(&own[..HEAD]) else { panic!() };
        assert_eq!(machine.check(), Ok(()));
    }
}
