//! Every block against its deadline: who took how long.

use crate::app::{Choice, Wishes};
use crate::look::{self, SERIES_COUNT};
use eframe::egui::{self, Color32, RichText, Ui};
use egui_plot::{Bar, BarChart, HLine, Legend, Plot};
use sandrack_host::play::{BlockTiming, NodeId, PluginView, View};
use std::collections::HashMap;
use std::sync::Arc;

/// What is looked at.
#[derive(Default)]
pub(crate) struct Deadline {
    /// A picture that was stopped, to look at.
    frozen: Option<Vec<Arc<BlockTiming>>>,
    which: Which,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Which {
    #[default]
    Recent,
    Late,
    Worst,
}

/// One part of every block's bar.
struct Part {
    name: String,
    color: Color32,
    /// us, a block each.
    bars: Vec<f64>,
}

impl Deadline {
    pub(crate) fn show(&mut self, ui: &mut Ui, view: &View, wishes: &mut Wishes) {
        ui.horizontal(|ui| {
            let late = format!("Late blocks ({})", view.recent.late.len());
            for (which, name) in [
                (Which::Recent, "Last blocks"),
                (Which::Late, late.as_str()),
                (Which::Worst, "Worst block"),
            ] {
                if ui.selectable_label(self.which == which, name).clicked() {
                    self.which = which;
                    self.frozen = None;
                }
            }
            let mut is_frozen = self.frozen.is_some();
            if ui.toggle_value(&mut is_frozen, "Hold").on_hover_text("Stop to look").changed() {
                self.frozen = is_frozen.then(|| self.blocks(view));
            }
            if let Some(culprit) = self.latest_culprit(view) {
                let bad = look::palette(ui).bad;
                ui.label(RichText::new(culprit).color(bad));
            }
        });
        let blocks = self.frozen.clone().unwrap_or_else(|| self.blocks(view));
        if blocks.is_empty() {
            ui.weak(match self.which {
                Which::Recent => "No blocks yet: the driver does not run.",
                Which::Late => "No block was late since statistics began.",
                Which::Worst => "No blocks since statistics began.",
            });
            return;
        }
        match self.which {
            Which::Worst => worst(ui, view, &blocks[0], wishes),
            Which::Recent | Which::Late => bars(ui, view, &blocks),
        }
    }

    fn blocks(&self, view: &View) -> Vec<Arc<BlockTiming>> {
        match self.which {
            Which::Recent => view.recent.blocks.clone(),
            Which::Late => view.recent.late.clone(),
            Which::Worst => view.recent.worst.iter().cloned().collect(),
        }
    }

    fn latest_culprit(&self, view: &View) -> Option<String> {
        let block = view.recent.late.last()?;
        let culprit = block.culprit.as_ref()?;
        Some(format!(
            "block {}: {} (wait {}, run {}, host {})",
            block.block,
            culprit.name,
            look::time(culprit.wait_ns),
            look::time(culprit.run_ns),
            look::time(culprit.host_ns)
        ))
    }
}

fn names(view: &View) -> HashMap<NodeId, &PluginView> {
    let plugins = view.tracks.iter().flat_map(|track| &track.plugins);
    plugins.filter_map(|plugin| Some((plugin.node?, plugin))).collect()
}

/// A bar a block, as high as the callback took; in it each plugin's part of what all plugins took.
/// (They run beside each other on several cores: their times add up to more than the callback's.)
fn parts(view: &View, blocks: &[Arc<BlockTiming>], palette: &look::Palette) -> Vec<Part> {
    let names = names(view);
    let mut totals: HashMap<NodeId, u64> = HashMap::new();
    for node in blocks.iter().flat_map(|block| &block.nodes) {
        *totals.entry(node.node).or_default() += u64::from(node.run_ns);
    }
    let mut order: Vec<_> = totals.into_iter().collect();
    order.sort_by_key(|(node, total)| (std::cmp::Reverse(*total), *node));
    order.truncate(SERIES_COUNT);
    let of: HashMap<NodeId, usize> =
        order.iter().enumerate().map(|(number, (node, _))| (*node, number)).collect();
    let zeros = || vec![0.0; blocks.len()];
    let mut parts: Vec<Part> = order
        .iter()
        .enumerate()
        .map(|(number, (node, _))| Part {
            name: names.get(node).map_or("gone".into(), |plugin| plugin.name.to_string()),
            color: look::series(number),
            bars: zeros(),
        })
        .collect();
    let (others, waits, host) = (parts.len(), parts.len() + 1, parts.len() + 2);
    for (name, color) in [
        ("other plugins", palette.weak),
        ("waiting to start", palette.line),
        ("host", palette.accent),
    ] {
        parts.push(Part { name: name.into(), color, bars: zeros() });
    }
    for (place, block) in blocks.iter().enumerate() {
        let all: u64 = block.nodes.iter().map(|n| u64::from(n.wait_ns) + u64::from(n.run_ns)).sum();
        let last =
            block.nodes.iter().map(|n| u64::from(n.ready_ns + n.wait_ns) + u64::from(n.run_ns));
        let in_plugins = last.max().unwrap_or(0).min(block.busy_ns);
        let scale = in_plugins as f64 / all.max(1) as f64 / 1000.0;
        for node in &block.nodes {
            let part = of.get(&node.node).copied().unwrap_or(others);
            parts[part].bars[place] += f64::from(node.run_ns) * scale;
            parts[waits].bars[place] += f64::from(node.wait_ns) * scale;
        }
        parts[host].bars[place] = (block.busy_ns - in_plugins) as f64 / 1000.0;
    }
    parts.retain(|part| part.bars.iter().any(|us| *us > 0.0));
    parts
}

fn bars(ui: &mut Ui, view: &View, blocks: &[Arc<BlockTiming>]) {
    let palette = look::palette(ui);
    let period = view.engine.period_ns as f64 / 1000.0;
    let mut charts: Vec<BarChart> = Vec::new();
    for part in parts(view, blocks, palette) {
        let bar = |(place, us): (usize, &f64)| {
            let late = blocks[place].culprit.is_some();
            let fill = if late { palette.bad } else { part.color };
            let block = blocks[place].block;
            Bar::new(place as f64, *us).width(1.0).fill(fill).name(format!("block {block}"))
        };
        let bars = part.bars.iter().enumerate().map(bar).collect();
        let chart = BarChart::new(&part.name, bars).color(part.color);
        let below: Vec<&BarChart> = charts.iter().collect();
        let chart = chart.stack_on(&below);
        charts.push(chart);
    }
    let bad = palette.bad;
    Plot::new("deadline")
        .legend(Legend::default())
        .allow_zoom(false)
        .allow_drag(false)
        .allow_scroll(false)
        .show_x(false)
        .include_y(0.0)
        .include_y(period * 1.1)
        .y_axis_label("us")
        .show_axes([false, true])
        .show(ui, |plot| {
            for chart in charts {
                plot.bar_chart(chart);
            }
            plot.hline(HLine::new("period", period).color(bad).width(1.5));
        });
}

/// One block, a line a plugin: ready, start, end.
fn worst(ui: &mut Ui, view: &View, block: &BlockTiming, wishes: &mut Wishes) {
    let palette = look::palette(ui);
    let names = names(view);
    ui.label(format!(
        "Block {}: {} of {}",
        block.block,
        look::time(block.busy_ns),
        look::time(block.period_ns)
    ));
    let mut nodes = block.nodes.clone();
    nodes.sort_by_key(|node| node.ready_ns + node.wait_ns);
    let whole = block.busy_ns.max(block.period_ns).max(1) as f32;
    egui::ScrollArea::vertical().auto_shrink(false).show_rows(ui, 18.0, nodes.len(), |ui, rows| {
        for node in &nodes[rows] {
            ui.horizontal(|ui| {
                let plugin = names.get(&node.node);
                let name = plugin.map_or("gone", |plugin| &plugin.name);
                let label = egui::Label::new(RichText::new(name).small()).truncate();
                let clicked = ui.add_sized([150.0, 16.0], label.sense(egui::Sense::click()));
                if let (true, Some(plugin)) = (clicked.clicked(), plugin) {
                    wishes.choice = Some(Choice::Plugin(plugin.id.clone()));
                }
                let size = egui::vec2(ui.available_width(), 14.0);
                let (rect, response) = ui.allocate_exact_size(size, egui::Sense::hover());
                let x = |ns: u32| rect.left() + rect.width() * (ns as f32 / whole).min(1.0);
                let (ready, start) = (node.ready_ns, node.ready_ns + node.wait_ns);
                let part = |from: u32, to: u32| {
                    let max = egui::pos2(x(to).max(x(from) + 1.0), rect.bottom());
                    egui::Rect::from_min_max(egui::pos2(x(from), rect.top()), max)
                };
                let painter = ui.painter();
                painter.rect_filled(rect, 2.0, palette.trough);
                painter.rect_filled(part(ready, start), 0.0, palette.line);
                let color = if node.is_heard { palette.good } else { palette.bad };
                painter.rect_filled(part(start, start + node.run_ns), 0.0, color);
                let deadline = rect.left() + rect.width() * (block.period_ns as f32 / whole);
                let line = [egui::pos2(deadline, rect.top()), egui::pos2(deadline, rect.bottom())];
                painter.line_segment(line, egui::Stroke::new(1.5, palette.bad));
                let (wait, run) = (u64::from(node.wait_ns), u64::from(node.run_ns));
                response.on_hover_text(format!(
                    "wait {}, run {}",
                    look::time(wait),
                    look::time(run)
                ));
            });
        }
    });
}
