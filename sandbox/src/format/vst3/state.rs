//! States as `.vstpreset` files: what the component and the controller saved, under the class's id.
//!
//! ```text
//! header   "VST3"  version: i32 = 1  class id: 32 characters  place of the list: i64
//! data     the chunks' bytes
//! list     "List"  count: i32  { id: 4 characters  place: i64  size: i64 } …
//! ```
//! All numbers are little-endian. The bytes come from files: every place is checked.

/// Bytes of the header.
pub(super) const HEADER: usize = 48;
const ENTRY: usize = 20;
/// Most chunks that are looked at; the SDK's own format has four kinds, one of each.
const MAX_CHUNKS: usize = 128;
const COMPONENT: &[u8; 4] = b"Comp";
const CONTROLLER: &[u8; 4] = b"Cont";

/// What a state holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunks<'a> {
    /// The class's id as 32 digits, as written.
    pub(super) class: &'a str,
    pub(super) component: Option<&'a [u8]>,
    pub(super) controller: Option<&'a [u8]>,
}

/// Writes a state. `class` has 32 digits.
pub(super) fn write(chunks: &Chunks<'_>) -> Vec<u8> {
    let parts = [(COMPONENT, chunks.component), (CONTROLLER, chunks.controller)];
    let mut file = Vec::new();
    file.extend_from_slice(b"VST3");
    file.extend_from_slice(&1_i32.to_le_bytes());
    file.extend_from_slice(chunks.class.as_bytes());
    debug_assert_eq!(file.len() + 8, HEADER);
    let size: usize = parts.iter().filter_map(|(_, data)| data.map(<[u8]>::len)).sum();
    file.extend_from_slice(&((HEADER + size) as i64).to_le_bytes());
    let mut list = Vec::new();
    let mut count = 0_i32;
    for (id, data) in parts {
        let Some(data) = data else { continue };
        list.extend_from_slice(id);
        list.extend_from_slice(&(file.len() as i64).to_le_bytes());
        list.extend_from_slice(&(data.len() as i64).to_le_bytes());
        file.extend_from_slice(data);
        count += 1;
    }
    file.extend_from_slice(b"List");
    file.extend_from_slice(&count.to_le_bytes());
    file.extend_from_slice(&list);
    file
}

/// Reads a state. The error says what is wrong with it.
pub(super) fn read(file: &[u8]) -> Result<Chunks<'_>, String> {
    let cut = || "it is cut short".to_owned();
    let class = class(file)?;
    let list = number8(file, 40).ok_or_else(cut)?;
    if slice(file, list, 4).ok_or_else(cut)? != b"List" {
        return Err("it has no list of chunks".into());
    }
    let count = number4(file, list + 4).ok_or_else(cut)?;
    let count = usize::try_from(count).unwrap_or(0).min(MAX_CHUNKS);
    let mut chunks = Chunks { class, component: None, controller: None };
    for index in 0..count {
        let entry = list + 8 + index * ENTRY;
        let id = slice(file, entry, 4).ok_or_else(cut)?;
        let place = number8(file, entry + 4).ok_or_else(cut)?;
        let size = number8(file, entry + 12).ok_or_else(cut)?;
        let into = match id {
            id if id == COMPONENT => &mut chunks.component,
            id if id == CONTROLLER => &mut chunks.controller,
            _ => continue, // descriptions, program data: for others
        };
        let data = slice(file, place, size).ok_or_else(|| {
            format!("its chunk '{}' lies outside of it", String::from_utf8_lossy(id))
        })?;
        // The first of a kind counts.
        into.get_or_insert(data);
    }
    Ok(chunks)
}

/// The class's id as 32 digits, as a state's header has it. The error says what is wrong with it.
pub(super) fn class(file: &[u8]) -> Result<&str, String> {
    if file.get(..4) != Some(b"VST3") {
        return Err("it does not begin with 'VST3'".into());
    }
    let cut = || "it is cut short".to_owned();
    let version = number4(file, 4).ok_or_else(cut)?;
    if version < 1 {
        return Err(format!("it has version {version}"));
    }
    let class = slice(file, 8, 32).ok_or_else(cut)?;
    std::str::from_utf8(class).map_err(|_| "its class id is no text".to_owned())
}

fn slice(file: &[u8], from: usize, len: usize) -> Option<&[u8]> {
    file.get(from..from.checked_add(len)?)
}

fn number4(file: &[u8], at: usize) -> Option<i32> {
    slice(file, at, 4)?.try_into().ok().map(i32::from_le_bytes)
}

/// A place or size: not negative, and no greater than the file.
fn number8(file: &[u8], at: usize) -> Option<usize> {
    let number = i64::from_le_bytes(slice(file, at, 8)?.try_into().ok()?);
    usize::try_from(number).ok().filter(|&number| number <= file.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CLASS: &str = "0123456789ABCDEF0123456789ABCDEF";

    #[test]
    fn what_is_written_is_read() {
        for (component, controller) in
            [(None, None), (Some(b"abc".as_slice()), None), (Some(b""), Some(b"12345".as_slice()))]
        {
            let chunks = Chunks { class: CLASS, component, controller };
            assert_eq!(read(&write(&chunks)), Ok(chunks));
        }
    }

    #[test]
    fn the_layout_is_that_of_preset_files() {
        let file = write(&Chunks { class: CLASS, component: Some(b"xyz"), controller: None });
        assert_eq!(&file[..8], b"VST3\x01\0\0\0");
        assert_eq!(&file[8..40], CLASS.as_bytes());
        assert_eq!(file[40..48], 51_u64.to_le_bytes());
        assert_eq!(&file[48..51], b"xyz");
        assert_eq!(&file[51..63], b"List\x01\0\0\0Comp");
        assert_eq!(file[63..71], 48_u64.to_le_bytes());
        assert_eq!(file[71..], 3_u64.to_le_bytes());
    }

    #[test]
    fn other_chunks_are_passed_over_and_bad_ones_named() {
        let mut file = write(&Chunks { class: CLASS, component: Some(b"xyz"), controller: None });
        file[59..63].copy_from_slice(b"Info");
        assert_eq!(read(&file).unwrap().component, None);
        file[59..63].copy_from_slice(b"Cont");
        file[71] = 60;
        assert_eq!(read(&file).unwrap_err(), "its chunk 'Cont' lies outside of it");
        assert!(read(b"not one").unwrap_err().contains("VST3"));
        assert_eq!(read(&file[..40]).unwrap_err(), "it is cut short");
    }

    proptest! {
        #[test]
        fn no_file_upsets_it(file: Vec<u8>) {
            let _ = read(&file);
        }

        #[test]
        fn no_damage_upsets_it(
            component: Vec<u8>,
            damage in prop::collection::vec((0_usize..200, any::<u8>()), 0..8),
            cut in 0_usize..200,
        ) {
            let chunks = Chunks { class: CLASS, component: Some(&component), controller: None };
            let mut file = write(&chunks);
            for (at, byte) in damage {
                if let Some(place) = file.get_mut(at) {
                    *place = byte;
                }
            }
            file.truncate(file.len().saturating_sub(cut));
            if let Ok(chunks) = read(&file) {
                // Nothing larger than the file comes out of it.
                let size = |data: Option<&[u8]>| data.map_or(0, <[u8]>::len);
                prop_assert!(size(chunks.component) <= file.len());
                prop_assert!(size(chunks.controller) <= file.len());
            }
        }
    }
}
