//! Which ASIO drivers are installed, by the system's registry.

use super::PREFIX;
use crate::drivers::DeviceInfo;
use windows_core::GUID;
use windows_registry::{Key, LOCAL_MACHINE};

/// An entry of the list that drivers enter themselves into.
#[derive(Clone, Debug)]
pub(super) struct Installed {
    /// The entry's name.
    pub(super) name: String,
    /// The name for people, often the same.
    description: String,
    /// Of its class. `Err`: what stands there instead.
    class: Result<GUID, String>,
    /// Whether it is there for 32-bit programs only.
    is_32_bit: bool,
}

const LIST: &str = r"SOFTWARE\ASIO";
/// Where the system keeps what 32-bit programs see as `LIST`.
const LIST_32: &str = r"SOFTWARE\WOW6432Node\ASIO";

/// All of them, by name. Those for 64-bit programs first.
pub(super) fn all() -> Vec<Installed> {
    let mut all = entries(LIST, false);
    for other in entries(LIST_32, true) {
        // Usually the same driver, installed for both.
        let is_known = all.iter().any(|known| known.name.eq_ignore_ascii_case(&other.name));
        if !is_known {
            all.push(other);
        }
    }
    all
}

fn entries(path: &str, is_32_bit: bool) -> Vec<Installed> {
    let Ok(list) = LOCAL_MACHINE.open(path) else { return Vec::new() };
    let Ok(names) = list.keys() else { return Vec::new() };
    let mut all: Vec<Installed> = names
        .filter_map(|name| {
            let key = list.open(&name).ok()?;
            Some(entry(name, &key, is_32_bit))
        })
        .collect();
    all.sort_by_key(|driver| driver.name.to_lowercase());
    all
}

fn entry(name: String, key: &Key, is_32_bit: bool) -> Installed {
    let text = key.get_string("CLSID").unwrap_or_default();
    let class = class_id(&text).ok_or(text);
    let description = key.get_string("Description").unwrap_or_default();
    Installed { name, description, class, is_32_bit }
}

/// `{01234567-89ab-cdef-0123-456789abcdef}`, with or without braces; some installers count the end of
/// the text as a letter of it.
fn class_id(text: &str) -> Option<GUID> {
    let text = text.trim_matches(|c: char| c == '\0' || c.is_whitespace());
    let digits: String = text.trim_matches(['{', '}']).split('-').collect();
    let is_guid = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_guid.then(|| u128::from_str_radix(&digits, 16).ok().map(GUID::from_u128))?
}

impl Installed {
    /// As `--driver` takes it.
    pub(super) fn full_name(&self) -> String {
        format!("{PREFIX}{}", self.name)
    }

    pub(super) fn info(&self) -> DeviceInfo {
        let about = match self.description.trim() {
            "" => "ASIO driver".to_owned(),
            other if other == self.name => "ASIO driver".to_owned(),
            other => format!("ASIO driver: {other}"),
        };
        DeviceInfo { name: self.full_name(), about, problem: self.problem(), details: None }
    }

    /// By its description, or by its name but for blanks around it.
    pub(super) fn is_described_as(&self, text: &str) -> bool {
        let text = text.trim();
        let names = [&self.description, &self.name];
        !text.is_empty() && names.iter().any(|name| name.trim().eq_ignore_ascii_case(text))
    }

    /// What can be told without opening it.
    pub(super) fn problem(&self) -> Option<String> {
        if self.is_32_bit {
            return Some(
                "it is for 32-bit programs only: ask its maker for a 64-bit driver".to_owned(),
            );
        }
        self.class.as_ref().err().map(|text| {
            format!(
                "its entry in the registry (HKLM\\{LIST}\\{}) has no proper CLSID but \"{text}\": \
                 install it anew",
                self.name
            )
        })
    }

    /// Of its class; that of nothing, if it has a [`problem`](Self::problem).
    pub(super) fn class(&self) -> GUID {
        self.class.clone().unwrap_or(GUID::zeroed())
    }
}

#[cfg(test)]
mod tests {
    use super::class_id;
    use windows_core::GUID;

    #[test]
    fn class_ids_as_drivers_write_them() {
        let right = Some(GUID::from_u128(0x01234567_89ab_cdef_0123_456789abcdef));
        assert_eq!(class_id("{01234567-89AB-cdef-0123-456789abcdef}"), right);
        assert_eq!(class_id(" 01234567-89ab-cdef-0123-456789abcdef "), right);
        assert_eq!(class_id("{01234567-89ab-cdef-0123-456789abcdef}\0"), right);
        for bad in ["", "{}", "{01234567-89ab-cdef-0123-456789abcde}", "{é1234567}", "none"] {
            assert_eq!(class_id(bad), None, "{bad}");
        }
    }
}
