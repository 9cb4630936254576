//! Presets by name: those of a plugin, and those that its file declares.

use crate::error::Error;
use sandrack_sandbox::format::{PluginInfo, PluginRef, Preset};
use sandrack_sandbox::supervisor::Supervisor;

/// Names that are offered instead of one that isn't there.
const OFFERED: usize = 4;
/// How alike two names are, 0 to 1, so that one is offered for the other.
const ALIKE: f64 = 0.7;

/// Presets that a plugin's file declares for it, or that lie in its format's folders, beside those
/// that the plugin itself lists.
///
/// # Errors
/// The file can't be loaded, or its worker ends.
pub(crate) fn declared(
    supervisor: &Supervisor,
    plugin: &PluginRef,
    info: &PluginInfo,
) -> Result<Vec<Preset>, Error> {
    let listed = supervisor.presets(&plugin.path)?.into_iter();
    let id = &info.descriptor.id;
    let mine = listed.filter(|listed| listed.plugins.is_empty() || listed.plugins.contains(id));
    Ok(mine.map(|l| l.preset).filter(|preset| !info.presets.contains(preset)).collect())
}

/// The preset of this name, in any case if none is called so exactly. The first of several.
pub(crate) fn find<'a>(presets: &'a [Preset], name: &str) -> Option<&'a Preset> {
    let lower = name.to_lowercase();
    let exact = presets.iter().find(|preset| preset.name == name);
    exact.or_else(|| presets.iter().find(|preset| preset.name.to_lowercase() == lower))
}

/// For an error's text: the names nearest to one that isn't there; empty: none is near.
pub(crate) fn near(presets: &[Preset], name: &str) -> String {
    let wanted = name.to_lowercase();
    let likeness = |preset: &Preset| {
        let name = preset.name.to_lowercase();
        if name.contains(&wanted) { 1.0 } else { strsim::jaro_winkler(&name, &wanted) }
    };
    let mut near: Vec<(f64, &str)> =
        presets.iter().map(|preset| (likeness(preset), preset.name.as_str())).collect();
    near.retain(|(likeness, name)| *likeness >= ALIKE && !name.is_empty());
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.dedup_by_key(|(_, name)| *name);
    let names: Vec<String> =
        near.iter().take(OFFERED).map(|(_, name)| format!("'{name}'")).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preset_is_found_by_name_or_others_are_offered() {
        let names = ["warm pad", "Warm Pad", "Bright Pad", "Organ"];
        let presets = names.map(|name| Preset { name: name.into(), ..Preset::default() });
        let found = |name| find(&presets, name).map(|preset| preset.name.as_str());
        assert_eq!(found("Warm Pad"), Some("Warm Pad"));
        assert_eq!(found("WARM PAD"), Some("warm pad"));
        assert_eq!(found("Pad"), None);
        assert_eq!(near(&presets, "orgna"), "'Organ'");
        assert_eq!(near(&presets, "bright"), "'Bright Pad'");
        assert_eq!(near(&presets, "xyz"), "");
    }
}
