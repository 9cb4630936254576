//! From the addresses that a worker's signal handler saved to modules, functions, and who called
//! whom.
//!
//! The worker is not trusted: what it says is mapped where names files, of which only ordinary ones
//! of reasonable size are read, and only their tables.

use super::details::Frame;
use framehop::{
    CacheNative, ExplicitModuleSectionInfo, FrameAddress, MayAllocateDuringUnwind, Module,
    UnwindRegsNative, Unwinder, UnwinderNative,
};
use object::read::NameOrOrdinal;
use object::{
    BinaryFormat, ExportTarget, Object, ObjectSection, ObjectSegment, ObjectSymbol, SectionKind,
    SymbolKind,
};
use sandrack_sandbox::crash::Caught;
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Frames that are told.
const MOST_FRAMES: usize = 32;
/// A larger file is not looked into.
const MOST_BYTES: u64 = 512 << 20;
/// Mappings of a process that are looked at.
const MOST_MAPPINGS: usize = 16_384;
/// Files that are remembered.
const MOST_FILES: usize = 64;

/// Files whose tables were read, to be asked again.
#[derive(Default)]
pub struct Symbols {
    files: HashMap<String, Option<Arc<Code>>>,
}

/// What is needed of a file of code.
struct Code {
    /// Places of code in the file, and the addresses that they are meant for.
    segments: Vec<(Range<u64>, u64)>,
    /// Whether it is mapped as a whole and its addresses count from its start (Windows).
    is_image: bool,
    /// Functions by address: first, size, name.
    functions: Vec<(u64, u64, String)>,
    unwinding: Vec<(&'static str, Range<u64>, Vec<u8>)>,
}

/// A part of a process's memory that can be run.
struct Mapped<'a> {
    range: Range<u64>,
    offset: u64,
    path: &'a str,
}

impl Symbols {
    /// Where a signal hit, and who called that; the innermost first. Empty: nothing is known.
    pub fn backtrace(&mut self, caught: &Caught) -> Vec<Frame> {
        let mapped = code_of(&caught.maps);
        let at = |address: u64| mapped.iter().find(|mapped| mapped.range.contains(&address));
        let [mut pc, mut sp, fp, lr] = caught.registers;
        let mut frames = Vec::new();
        // Called what isn't code? Then the caller is on the stack's top.
        if at(pc).is_none()
            && let Some(caller) = word_at(&caught.stack, 0).filter(|caller| at(*caller).is_some())
        {
            frames.push(Frame { module: String::new(), offset: pc, symbol: None });
            (pc, sp) = (caller, sp.wrapping_add(8));
        }
        let mut unwinder = UnwinderNative::<Vec<u8>, MayAllocateDuringUnwind>::new();
        let mut seen: Vec<u64> = Vec::new();
        for mapped in &mapped {
            if let Some((code, base)) = self.code(mapped)
                && !seen.contains(&base)
            {
                seen.push(base);
                unwinder.add_module(code.module(mapped, base));
            }
        }
        let mut cache = CacheNative::<MayAllocateDuringUnwind>::new();
        let first = caught.registers[1];
        let mut read = |address: u64| {
            let at = address.checked_sub(first).and_then(|at| usize::try_from(at).ok());
            at.and_then(|at| word_at(&caught.stack, at)).ok_or(())
        };
        let registers = native_registers(pc, sp, fp, lr);
        let mut all = unwinder.iter_frames(pc, registers, &mut cache, &mut read);
        while frames.len() < MOST_FRAMES
            && let Ok(Some(frame)) = all.next()
        {
            // A return address may lie behind the function, if that never returns.
            let address = match frame {
                FrameAddress::InstructionPointer(address) => address,
                FrameAddress::ReturnAddress(address) => address.get() - 1,
            };
            let Some(mapped) = at(address) else {
                if frames.is_empty() {
                    frames.push(Frame { module: String::new(), offset: address, symbol: None });
                }
                break;
            };
            frames.push(self.frame(mapped, address));
            if self.code(mapped).is_some_and(|(code, _)| code.is_image) {
                // How these are unwound is not read: what followed would be guesses.
                break;
            }
        }
        frames
    }

    fn frame(&mut self, mapped: &Mapped<'_>, address: u64) -> Frame {
        let module = mapped.path.to_owned();
        match self.code(mapped) {
            Some((code, base)) => {
                let offset = address.wrapping_sub(base);
                Frame { module, offset, symbol: code.symbol(offset) }
            }
            None => Frame { module, offset: address - mapped.range.start, symbol: None },
        }
    }

    /// The file of a mapping, and where its address 0 lies in the process.
    fn code(&mut self, mapped: &Mapped<'_>) -> Option<(Arc<Code>, u64)> {
        if !Path::new(mapped.path).is_absolute() {
            return None;
        }
        if self.files.len() > MOST_FILES {
            self.files.clear();
        }
        let file = self.files.entry(mapped.path.to_owned());
        let code = file.or_insert_with(|| Code::read(mapped.path).map(Arc::new)).clone()?;
        if code.is_image {
            return Some((code, mapped.range.start));
        }
        // Mappings begin at a page, code need not.
        let length = mapped.range.end - mapped.range.start;
        let end = mapped.offset.saturating_add(length);
        let overlaps = |file: &Range<u64>| file.start < end && mapped.offset < file.end;
        let (segment, address) = code.segments.iter().find(|(file, _)| overlaps(file))?;
        let of_file = mapped.range.start.wrapping_sub(mapped.offset);
        Some((Arc::clone(&code), of_file.wrapping_add(segment.start).wrapping_sub(*address)))
    }
}

/// The parts of a process that can be run, of lines such as
/// `7f1000-7f2000 r-xp 00001000 08:01 1234 /usr/lib/libm.so`.
fn code_of(maps: &str) -> Vec<Mapped<'_>> {
    let line = |line: &'_ str| -> Option<(u64, u64, u64)> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        if !words.next()?.contains('x') {
            return None;
        }
        let number = |text| u64::from_str_radix(text, 16).ok();
        let (start, end, offset) = (number(start)?, number(end)?, number(words.next()?)?);
        words.nth(1)?;
        (start < end).then_some((start, end, offset))
    };
    let parse = |text| {
        let (start, end, offset) = line(text)?;
        Some(Mapped { range: start..end, offset, path: path_of(text) })
    };
    maps.lines().take(MOST_MAPPINGS).filter_map(parse).collect()
}

/// The path in a line: what follows five words, spaces and all.
fn path_of(line: &str) -> &str {
    let mut rest = line;
    for _ in 0..5 {
        rest = rest.trim_start();
        rest = rest.find(char::is_whitespace).and_then(|end| rest.get(end..)).unwrap_or_default();
    }
    let path = rest.trim_start();
    path.strip_suffix(" (deleted)").unwrap_or(path)
}

fn word_at(bytes: &[u8], at: usize) -> Option<u64> {
    let word = bytes.get(at..at.checked_add(8)?)?;
    word.try_into().ok().map(u64::from_ne_bytes)
}

#[cfg(target_arch = "aarch64")]
fn native_registers(_pc: u64, sp: u64, fp: u64, lr: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(lr, sp, fp)
}

#[cfg(not(target_arch = "aarch64"))]
fn native_registers(pc: u64, sp: u64, fp: u64, _lr: u64) -> UnwindRegsNative {
    UnwindRegsNative::new(pc, sp, fp)
}

impl Code {
    fn read(path: &str) -> Option<Self> {
        let data = std::fs::metadata(path).ok()?;
        if !data.is_file() || data.len() > MOST_BYTES {
            return None;
        }
        let bytes = std::fs::read(path).ok()?;
        let file = object::File::parse(&*bytes).ok()?;
        let segment = |segment: object::Segment<'_, '_>| {
            if !segment.permissions().executable() {
                return None;
            }
            let (start, len) = segment.file_range();
            Some((start..start.checked_add(len)?, segment.address()))
        };
        let is_image = file.format() == BinaryFormat::Pe;
        let functions = match is_image {
            true => functions_of_image(&file),
            false => functions_of(&file),
        };
        let unwinding = [".eh_frame", ".eh_frame_hdr", ".text", ".got"].into_iter();
        let unwinding = unwinding.filter_map(|name| {
            let section = file.section_by_name(name)?;
            let range = section.address()..section.address().checked_add(section.size())?;
            // Of these two, where they lie is enough.
            let is_read = name.starts_with(".eh");
            let data = if is_read { section.data().ok()?.to_vec() } else { Vec::new() };
            Some((name, range, data))
        });
        Some(Self {
            segments: file.segments().filter_map(segment).collect(),
            is_image,
            functions,
            unwinding: unwinding.collect(),
        })
    }

    fn symbol(&self, address: u64) -> Option<String> {
        let at = self.functions.partition_point(|(first, ..)| *first <= address);
        let (first, size, name) = self.functions.get(at.checked_sub(1)?)?;
        let distance = address - first;
        (distance < *size).then(|| format!("{}+{distance:#x}", readable(name)))
    }

    fn module(&self, mapped: &Mapped<'_>, base: u64) -> Module<Vec<u8>> {
        let find = |name| self.unwinding.iter().find(|section| section.0 == name);
        let range = |name| find(name).map(|section| section.1.clone());
        let data = |name| find(name).map(|section| section.2.clone());
        let info = ExplicitModuleSectionInfo {
            base_svma: 0,
            text_svma: range(".text"),
            got_svma: range(".got"),
            eh_frame_svma: range(".eh_frame"),
            eh_frame: data(".eh_frame"),
            eh_frame_hdr_svma: range(".eh_frame_hdr"),
            eh_frame_hdr: data(".eh_frame_hdr"),
            ..ExplicitModuleSectionInfo::default()
        };
        Module::new(mapped.path.to_owned(), mapped.range.clone(), base, info)
    }
}

/// Functions by address: first, size, name.
fn functions_of(file: &object::File<'_>) -> Vec<(u64, u64, String)> {
    let function = |symbol: &object::Symbol<'_, '_>| {
        symbol.kind() == SymbolKind::Text && symbol.size() > 0 && symbol.is_definition()
    };
    let mut functions: Vec<_> = file
        .symbols()
        .chain(file.dynamic_symbols())
        .filter(function)
        .filter_map(|symbol| {
            Some((symbol.address(), symbol.size(), symbol.name().ok()?.to_owned()))
        })
        .collect();
    functions.sort_unstable();
    functions.dedup_by_key(|function| function.0);
    functions
}

/// The same of a file for Windows, which says of functions where they begin only, and in most cases
/// of those only that others may call: each reaches up to the next.
fn functions_of_image(file: &object::File<'_>) -> Vec<(u64, u64, String)> {
    let base = file.relative_address_base();
    let text: Vec<Range<u64>> = file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .map(|section| section.address()..section.address().saturating_add(section.size()))
        .collect();
    let symbols = file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text);
    let symbols =
        symbols.filter_map(|symbol| Some((symbol.address(), symbol.name().ok()?.to_owned())));
    let exports = file.exports().into_iter().flatten().flatten().filter_map(|export| {
        let (ExportTarget::Address { address }, NameOrOrdinal::Name(name)) =
            (export.target(), export.name())
        else {
            return None;
        };
        Some((address, std::str::from_utf8(name).ok()?.to_owned()))
    });
    let mut begins: Vec<(u64, u64, String)> = symbols
        .chain(exports)
        .filter_map(|(address, name)| {
            let section = text.iter().find(|section| section.contains(&address))?;
            Some((address, section.end, name))
        })
        .collect();
    begins.sort_unstable();
    begins.dedup_by_key(|function| function.0);
    let ends = begins.iter().skip(1).map(|next| next.0).chain([u64::MAX]);
    let sized = begins.iter().zip(ends).map(|((first, section_end, name), end)| {
        (first.wrapping_sub(base), end.min(*section_end) - first, name.clone())
    });
    sized.collect()
}

/// A name as its author wrote it.
fn readable(name: &str) -> String {
    const LONGEST: usize = 300;
    let rust = rustc_demangle::try_demangle(name).map(|name| format!("{name:#}")).ok();
    let cpp = || {
        let symbol = cpp_demangle::Symbol::new(name).ok()?;
        symbol.demangle().ok()
    };
    let text = rust.or_else(cpp).unwrap_or_else(|| name.to_owned());
    text.chars().filter(|c| !c.is_control()).take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_mapped_is_read_from_lines() {
        let maps = "1000-2000 r--p 00000000 08:01 12 /a/b c.so\n\
                    2000-3000 r-xp 00001000 08:01 12                  /a/b c.so (deleted)\n\
                    4000-5000 r-xp 00000000 00:00 0 [vdso]\n6000-7000 rwxp 00000000 00:00 0 \n\
                    nonsense\n9000-8000 r-xp 0 0 0 /x\n\
                    a000-b000 r-xp 00000000 00:00 0 C:/Program Files/d.dll\n";
        let found: Vec<_> =
            code_of(maps).iter().map(|m| (m.range.start, m.offset, m.path.to_owned())).collect();
        assert_eq!(
            found,
            [
                (0x2000, 0x1000, "/a/b c.so".to_owned()),
                (0x4000, 0, "[vdso]".to_owned()),
                (0x6000, 0, String::new()),
                (0xa000, 0, "C:/Program Files/d.dll".to_owned())
            ]
        );
    }

    #[test]
    fn names_are_readable_and_rubbish_does_no_harm() {
        assert_eq!(readable("_ZN3foo3barEi"), "foo::bar(int)");
        assert_eq!(readable("plain_c"), "plain_c");
        let caught = Caught {
            registers: [u64::MAX, u64::MAX - 3, u64::MAX, 7],
            stack: vec![0xff; 37],
            maps: "0-ffffffffffffffff r-xp ffffffffffffffff 0 0 /proc/self/maps".into(),
            ..Caught::default()
        };
        let _ = Symbols::default().backtrace(&caught);
    }
}
