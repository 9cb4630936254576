//! Loads the plugins of a session.

use super::{Place, Plugin, PluginAt, SessionConfig, places};
use crate::error::Error;
use sandrack_sandbox::confine::Grants;
use sandrack_sandbox::format::{PluginInfo, PluginRef};
use sandrack_sandbox::supervisor::{Node, Supervisor};
use sandrack_sandbox::sys::thread;
use std::collections::BTreeMap;

fn display_name(plugin: &PluginRef, info: &PluginInfo, number: usize) -> String {
    let name = match info.descriptor.name.as_str() {
        "" => plugin.to_string(),
        name => name.to_owned(),
    };
    format!("{name} {}", number + 1)
}

pub(super) fn load_all(
    tracks: &[Vec<PluginRef>],
    mut load: impl FnMut(usize, &PluginRef) -> Result<Place, Error>,
) -> Result<Vec<Vec<Plugin>>, Error> {
    let mut number = 0;
    let mut loaded = Vec::with_capacity(tracks.len());
    for (track, plugins) in tracks.iter().enumerate() {
        let mut chain = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            chain.push(named(load(track, plugin)?, plugin, number));
            number += 1;
        }
        loaded.push(chain);
    }
    Ok(loaded)
}

fn named(place: Place, reference: &PluginRef, number: usize) -> Plugin {
    let mut plugin = Plugin::new(place, reference.clone(), Grants::default());
    plugin.name = display_name(reference, plugin.info(), number);
    plugin
}

/// Plugins by their places, with what they may do.
pub(super) fn keyed(
    tracks: Vec<Vec<Plugin>>,
    config: &SessionConfig,
) -> BTreeMap<PluginAt, Plugin> {
    let all: Vec<PluginAt> = places(&tracks).collect();
    let plugins = tracks.into_iter().flatten();
    let each = all.into_iter().zip(plugins);
    each.map(|(at, plugin)| (at, Plugin { grants: config.grants_of(at), ..plugin })).collect()
}

/// A worker for each plugin, started from several threads.
pub(super) fn load_apart<'a>(
    supervisor: &(dyn Fn(usize) -> &'a Supervisor + Sync),
    tracks: &[Vec<PluginRef>],
    grants: &BTreeMap<PluginAt, Grants>,
    core: &(dyn Fn(usize) -> Option<usize> + Sync),
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<Vec<Plugin>>, Error> {
    let jobs: Vec<(PluginAt, &PluginRef)> = places(tracks).zip(tracks.iter().flatten()).collect();
    // Two at a time a core: while one waits for its process to come up, another loads.
    let threads = (2 * thread::cores().len()).clamp(1, 16).min(jobs.len().max(1));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let load = |at: usize, (place, plugin): (PluginAt, &PluginRef)| -> Result<Node, Error> {
        let worker = supervisor(at).start_worker(&plugin.to_string(), core(place.track))?;
        let grants = grants.get(&place).cloned().unwrap_or_default();
        worker.begin_with(&[&plugin.path], &[grants])?;
        Ok(worker.load(plugin)?)
    };
    let results: Vec<(usize, Result<Node, Error>)> = std::thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(&job) = jobs.get(at) else { break mine };
                let result = load(at, job);
                let failed = result.is_err();
                mine.push((at, result));
                if failed {
                    // The others stop too: one error is enough.
                    next.fetch_max(jobs.len(), std::sync::atomic::Ordering::Relaxed);
                    break mine;
                }
                progress();
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    });
    let mut nodes: Vec<Option<Node>> = jobs.iter().map(|_| None).collect();
    for (at, result) in results {
        nodes[at] = Some(result?);
    }
    let mut nodes = nodes.into_iter().flatten();
    load_all(tracks, |_, plugin| {
        let node = nodes.next().ok_or_else(|| Error::Plan {
            reason: format!("{plugin}: was not loaded, and nobody said why"),
        })?;
        Ok(Place::Worker(node))
    })
}
