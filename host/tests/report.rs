//! The report's three forms: the promise of its JSON, a page that is sound and closed in itself,
//! and a text that fits a terminal.

use sandrack_host::report::{
    self, Bin, Capacity, Cause, Colours, Empty, Floor, Isolation, LimitedBy, Machine, Node,
    Percentile, Percentiles, Report, Run,
};
use serde_json::Value;

/// Noise that is the same each time.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as f64 / (1u64 << 31) as f64
    }

    /// About `typical`, now and then much more, as times on a computer are.
    fn times(&mut self, typical: f64, spread: f64, count: usize) -> Vec<f64> {
        let one = |noise: &mut Self| {
            let tail = (1.0 - noise.next()).max(1e-9).powf(-0.22);
            typical * (1.0 + spread * (0.4 * noise.next() + tail - 1.0))
        };
        (0..count).map(|_| one(self)).collect()
    }
}

fn histogram(us: &[f64]) -> hdrhistogram::Histogram<u64> {
    let mut histogram = hdrhistogram::Histogram::new(3).unwrap();
    for value in us {
        histogram.record((value * 1e3) as u64).unwrap();
    }
    histogram
}

fn run(noise: &mut Noise, frames: u32, plugins: u32, load_us: f64, isolation: Isolation) -> Run {
    let periods = u64::from(48_000 / frames) * 2;
    let period_us = f64::from(frames) * 1e6 / 48_000.0;
    let hop = match isolation {
        Isolation::Plugin => 4.4,
        Isolation::Group => 0.35,
        Isolation::None => 0.08,
    };
    let blocks = periods as usize;
    let nodes: Vec<Node> = (0..plugins)
        .map(|i| {
            let wait = histogram(&noise.times(hop, 0.5, blocks));
            let work = histogram(&noise.times(load_us, 0.05, blocks));
            Node {
                name: if i == 3 {
                    "Very Long Plugin Name With <script>alert(1)</script>".into()
                } else {
                    format!("Burn {}", i + 1)
                },
                wait_us: Percentiles::from_ns(&wait),
                run_us: Percentiles::from_ns(&work),
                wait_bins: report::bins(&wait),
                run_bins: report::bins(&work),
            }
        })
        .collect();
    let busy = 9.0 + f64::from(plugins) * (load_us * 1.02 + hop * 1.1);
    let callback_us = Percentiles::from_values(&noise.times(busy, 0.1, blocks));
    let xruns = if busy > period_us { periods / 2 } else { u64::from(busy > period_us * 0.5) };
    Run {
        frames,
        rate: 48_000,
        plugins,
        load_us,
        isolation,
        periods,
        xruns,
        late: 0,
        callback_us,
        load: callback_us.scaled(1.0 / period_us),
        hop_us: Percentiles::from_values(&noise.times(hop, 0.5, blocks)),
        floor_us: 3.7,
        nodes,
        empty: Some(Empty {
            periods,
            xruns: u64::from(frames == 16),
            callback_us: Percentiles::from_values(&noise.times(6.0, 0.6, blocks)),
        }),
        causes: (0..xruns.min(2))
            .map(|i| Cause {
                period: 1000 + i,
                node: "Burn 7".into(),
                wait_us: 812.0,
                run_us: 20.4,
                host_us: 3.1,
            })
            .collect(),
        overhead_us: Percentiles::from_values(&noise.times(hop * 1.1, 0.3, blocks)),
    }
}

/// What a sweep on a small machine gives.
fn sample() -> Report {
    static SAMPLE: std::sync::OnceLock<Report> = std::sync::OnceLock::new();
    SAMPLE.get_or_init(make_sample).clone()
}

fn make_sample() -> Report {
    let mut noise = Noise(7);
    let (mut runs, mut capacity) = (Vec::new(), Vec::new());
    for frames in [16, 32, 64, 128, 256, 512, 1024, 2048] {
        for load_us in [5.0, 20.0, 100.0] {
            for (isolation, hop) in
                [(Isolation::Plugin, 4.4), (Isolation::Group, 0.35), (Isolation::None, 0.08)]
            {
                let room = f64::from(frames) * 1e6 / 48_000.0 * 0.8 - 20.0;
                let fits = (room / (load_us * 1.02 + hop)).floor().max(0.0) as u32;
                capacity.push(Capacity {
                    frames,
                    rate: 48_000,
                    load_us,
                    isolation,
                    plugins: fits.min(400),
                    limited_by: if fits > 400 { LimitedBy::SweepEnd } else { LimitedBy::Period },
                    percentile: Percentile::P99,
                });
                for plugins in [1, 8, 32] {
                    runs.push(run(&mut noise, frames, plugins, load_us, isolation));
                }
            }
        }
    }
    Report {
        version: "0.1.0".into(),
        date: "2031-05-17T09:30:00Z".into(),
        command: "sandrack bench --frames 16,32,64".into(),
        plugin: "Burn (target/release/libsandrack_plugins_test.so#org.sandrack.burn)".into(),
        driver: "virtual".into(),
        machine: Machine {
            cpu: "AMD EPYC 7763 64-Core Processor".into(),
            cores: 2,
            kernel: "Linux 6.1.0-18-amd64".into(),
            realtime: "none: add yourself to the group `audio` and allow it rtprio 95 in \
             /etc/security/limits.d/audio.conf, then log in again"
                .into(),
            realtime_granted: false,
            idle_cores: "kept awake".into(),
            locked_memory: "unlimited".into(),
            locked_memory_granted: true,
        },
        floor: Floor { same_core_us: 3.7, any_core_us: 14.2 },
        runs,
        capacity,
        capacity_limit: 0.8,
        notes: vec!["The sweep was shortened by --quick.".into()],
    }
}

/// A report in which a hostile plugin has named everything.
fn hostile() -> Report {
    let evil = "</title></style></svg><script>alert(\"1\")</script><img \
     src='http://example.com/x' onerror=x> & \u{1b}[31m\u{202e}";
    let mut report = sample();
    report.plugin = evil.into();
    report.command = evil.into();
    report.driver = evil.into();
    report.date = evil.into();
    report.notes = vec![evil.into()];
    report.machine.cpu = evil.into();
    report.machine.realtime = evil.into();
    for run in &mut report.runs {
        run.nodes.iter_mut().for_each(|n| n.name = evil.into());
        run.causes.iter_mut().for_each(|c| c.node = evil.into());
    }
    report
}

/// Checks that every tag is closed in order, and returns the names of all.
fn check_tags(html: &str) -> Vec<String> {
    const VOID: [&str; 3] = ["meta", "br", "hr"];
    let (mut open, mut seen) = (Vec::new(), Vec::new());
    let mut rest = html.strip_prefix("<!DOCTYPE html>").expect("a doctype");
    while let Some(at) = rest.find('<') {
        assert!(!rest[..at].contains('>') || open.last() == Some(&"style"), "a stray >");
        let end = at + rest[at..].find('>').expect("an unfinished tag");
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "</{name}>");
            continue;
        }
        let name = tag.split([' ', '/']).next().unwrap();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric()) && !name.is_empty(), "<{tag}>");
        seen.push(name.to_owned());
        if !tag.ends_with('/') && !VOID.contains(&name) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "left open: {open:?}");
    seen
}

#[test]
fn the_json_holds_what_was_promised() {
    let json: Value = serde_json::from_str(&report::to_json(&sample())).unwrap();
    let number = |v: &Value| assert!(v.is_number(), "{v}");
    let text = |v: &Value| assert!(v.is_string(), "{v}");
    let all = |v: &Value, fields: &[&str]| fields.iter().for_each(|f| number(&v[*f]));
    for field in ["version", "date", "plugin", "driver", "command"] {
        text(&json[field]);
    }
    for field in ["cpu", "kernel", "realtime", "locked_memory"] {
        text(&json["machine"][field]);
    }
    assert!(json["machine"]["cores"].is_u64());
    all(&json["floor"], &["same_core_us", "any_core_us"]);
    let isolation = |v: &Value| assert!(["plugin", "group", "none"].contains(&v.as_str().unwrap()));
    let runs = json["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 216);
    for run in runs {
        for field in ["frames", "rate", "plugins", "periods", "xruns", "late"] {
            assert!(run[field].is_u64(), "{field}");
        }
        all(run, &["load_us", "floor_us"]);
        isolation(&run["isolation"]);
        all(&run["callback_us"], &["p50", "p99", "p999", "max"]);
        all(&run["load"], &["p50", "p99"]);
        all(&run["hop_us"], &["p50", "p99"]);
        let nodes = run["nodes"].as_array().unwrap();
        assert_eq!(nodes.len() as u64, run["plugins"].as_u64().unwrap());
        for node in nodes {
            text(&node["name"]);
            for of in ["wait_us", "run_us"] {
                all(&node[of], &["p50", "p99", "max"]);
            }
        }
    }
    let capacity = json["capacity"].as_array().unwrap();
    assert_eq!(capacity.len(), 72);
    for row in capacity {
        assert!(row["frames"].is_u64() && row["plugins"].is_u64());
        number(&row["load_us"]);
        isolation(&row["isolation"]);
        assert!(["period", "sweep end"].contains(&row["limited_by"].as_str().unwrap()));
    }
}

#[test]
fn a_report_is_read_back_as_it_was_written() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bench.json");
    let report = sample();
    report::write_json(&report, &path).unwrap();
    assert_eq!(report::read_json(&path).unwrap(), report);
    report::write_html(&report, &dir.path().join("bench.html")).unwrap();
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);

    std::fs::write(&path, "{\"version\": 3}").unwrap();
    let text = report::read_json(&path).unwrap_err().to_string();
    assert!(text.contains("bench.json") && text.contains("not a report"), "{text}");
    let text =
        report::write_json(&report, &dir.path().join("none/a.json")).unwrap_err().to_string();
    assert!(text.contains("a.json"), "{text}");
}

#[test]
fn the_page_is_well_formed_and_loads_nothing() {
    for report in [sample(), hostile(), Report::default()] {
        let html = report::html(&report);
        let tags = check_tags(&html);
        for forbidden in ["script", "link", "img", "iframe", "object", "embed", "image", "use", "a"]
        {
            assert!(!tags.iter().any(|t| t == forbidden), "<{forbidden}>");
        }
        // Only the sample's own texts may hold an address, as text.
        let ours = report::html(&Report { plugin: String::new(), ..sample() });
        for load in ["http://", "https://", "url(", "@import", "src=", "href="] {
            assert!(!ours.contains(load), "{load}");
        }
    }
}

#[test]
fn each_chart_has_a_label_and_a_table() {
    let html = report::html(&sample());
    let tags = check_tags(&html);
    let count = |name: &str| tags.iter().filter(|t| *t == name).count();
    // Capacity and load have a panel for each of three loads, capacity one more to compare.
    assert_eq!(count("svg"), 4 + 3 + 4);
    assert_eq!(html.matches("<svg role=\"img\" aria-label=\"").count(), count("svg"));
    assert_eq!(count("details"), 6);
    assert_eq!(count("table"), 7);
    assert_eq!(count("table"), count("caption"));
    assert!(!html.contains("NaN") && !html.contains("inf"), "a figure that is none");
}

#[test]
fn names_from_plugins_are_text_in_every_form() {
    let report = hostile();
    let html = report::html(&report);
    assert!(!html.contains("<script") && !html.contains("<img") && !html.contains('\u{1b}'));
    assert!(html.contains("&lt;script&gt;alert(&quot;1&quot;)&lt;/script&gt;"));
    assert!(!html.contains('\u{202e}'), "text that turns the direction of what follows");
    let text = report::text(&report);
    assert!(!text.contains('\u{1b}'), "codes that a terminal obeys");
}

#[test]
fn the_text_fits_a_terminal_and_begins_with_what_matters() {
    let report = sample();
    let text = report::text(&report);
    assert!(
        text.starts_with("At 64 frames (1.3 ms) this machine runs 42 plugins of 20 us, each in"),
        "{text}"
    );
    let overlong: Vec<_> = text.lines().filter(|l| l.chars().count() > 80).collect();
    assert!(overlong.is_empty(), "{overlong:#?}");
    for part in [
        "rtprio 95",
        "Capacity",
        ">=400",
        "Live playing: set the buffer to",
        "Burn 7",
        "Xruns",
        "Hop",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    assert!(!text.contains('\u{1b}') && !text.contains("NaN"));
    let coloured = report::text_with(&report, Colours::Ansi);
    assert_eq!(coloured.replace("\u{1b}[1m", "").replace("\u{1b}[0m", ""), text);
    // Nothing measured, and very little measured: still a text.
    assert!(report::text(&Report::default()).contains("Nothing was measured"));
    let few = Report {
        capacity: Vec::new(),
        runs: vec![run(&mut Noise(1), 64, 2, 20.0, Isolation::None)],
        ..sample()
    };
    let text = report::text(&few);
    assert!(text.starts_with("At 64 frames (1.3 ms) 2 plugins, without sandboxing,"), "{text}");
    check_tags(&report::html(&few));
}

#[test]
fn percentiles_are_values_that_were_measured() {
    let values = |n: u32| (1..=n).map(f64::from).collect::<Vec<_>>();
    assert_eq!(Percentiles::from_values(&[]), Percentiles::default());
    let few = Percentiles::from_values(&values(99));
    assert_eq!(
        (few.p50, few.p99, few.p999, few.max, few.samples),
        (Some(50.0), Some(99.0), Some(99.0), Some(99.0), 99)
    );
    let many = Percentiles::from_values(&values(1000));
    assert_eq!(
        (many.p50, many.p99, many.p999, many.max),
        (Some(500.0), Some(990.0), Some(999.0), Some(1000.0))
    );
    assert_eq!(few.highest(), Some((Percentile::P50, 50.0)));
    assert_eq!(many.highest(), Some((Percentile::P999, 999.0)));
    assert_eq!(many.scaled(0.01).max, Some(10.0));
    let from_ns = Percentiles::from_ns(&histogram(&values(1000)));
    for (a, b) in [(from_ns.p50, many.p50), (from_ns.p99, many.p99), (from_ns.max, many.max)] {
        assert!((a.unwrap() / b.unwrap() - 1.0).abs() < 2e-3);
    }
}

#[test]
fn histograms_keep_every_sample() {
    let values = Noise(3).times(4.0, 0.6, 5000);
    let bins = report::bins(&histogram(&values));
    assert_eq!(bins.iter().map(|b| b.count).sum::<u64>(), 5000);
    for pair in bins.windows(2) {
        assert!(pair[0].to_us <= pair[1].from_us);
    }
    let lowest = values.iter().copied().fold(f64::MAX, f64::min);
    assert!(bins[0].from_us <= lowest && lowest <= bins[0].to_us * 1.001);
    assert_eq!(report::bins(&histogram(&[1.0])), [Bin { from_us: 1.0, to_us: 1.0905, count: 1 }]);
}

#[test]
fn machine_facts_are_never_empty() {
    let machine = Machine::gather();
    assert!(!machine.cpu.is_empty() && !machine.kernel.is_empty() && machine.cores > 0);
    assert!(report::now_utc().starts_with("20") && report::now_utc().ends_with('Z'));
}
