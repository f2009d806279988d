//! A plot of what was measured.

use std::fmt::Write as _;

use crate::contender::NAMES;
use crate::results::Results;
use crate::table::{growth_of, ratio, sum_of_floods};
use crate::{forward, latency};

const WIDTH: f64 = 920.0;
const MARGIN: f64 = 24.0;
/// Where bars begin, and how long they are at most.
const LEFT: f64 = 170.0;
const LENGTH: f64 = 560.0;
const ROW: f64 = 24.0;
/// Above and below the bars of a panel.
const HEAD: f64 = 34.0;
const FOOT: f64 = 26.0;

const STYLE: &str = "text { font: 15px ui-sans-serif, system-ui, \"DejaVu Sans\", Arial, sans-serif; fill: #57606a }
    .strong { font-weight: 600; fill: #1f2328 }
    .ours { fill: #1a7f37 }
    .theirs { fill: #8c959f }
    .grid { stroke: #d0d7de; stroke-width: 1 }
    .small { font-size: 12px }";

/// A group of bars on one scale.
struct Panel {
    title: &'static str,
    /// Whether each step to the right is ten times the one before.
    is_logarithmic: bool,
    /// Who, how much, and in words.
    bars: Vec<(&'static str, f64, String)>,
}

impl Panel {
    /// Of those who have a value.
    fn new(title: &'static str, is_logarithmic: bool, value: impl Fn(&str) -> Option<f64>) -> Self {
        let bars = NAMES.into_iter().filter_map(|name| {
            let value = value(name)?;
            Some((name, value, ratio(Some(value))))
        });
        Self {
            title,
            is_logarithmic,
            bars: bars.collect(),
        }
    }

    fn height(&self) -> f64 {
        HEAD + ROW * self.bars.len() as f64 + FOOT
    }

    /// The ends of its scale.
    fn ends(&self) -> (f64, f64) {
        let values = || self.bars.iter().map(|(_, value, _)| *value);
        let most = values().fold(f64::MIN_POSITIVE, f64::max);
        let least = values().filter(|value| *value > 0.0).fold(most, f64::min);
        if self.is_logarithmic {
            // A decade below the least, so that it has a bar too.
            let first = least.log10().floor() - 1.0;
            (first, most.log10().ceil().max(first + 1.0))
        } else {
            (0.0, most.max(1.0))
        }
    }

    fn draw(&self, top: f64, into: &mut String) {
        let (first, last) = self.ends();
        let bottom = top + HEAD + ROW * self.bars.len() as f64;
        let place = |value: f64| {
            let value = if self.is_logarithmic {
                value.log10()
            } else {
                value
            };
            (value.max(first) - first) / (last - first) * LENGTH
        };
        let _ = writeln!(
            into,
            "  <text class=\"strong\" x=\"{MARGIN}\" y=\"{}\">{}</text>",
            top + 18.0,
            self.title
        );
        for mark in self.marks(first, last) {
            let x = LEFT + place(mark);
            let _ = writeln!(
                into,
                "  <path class=\"grid\" d=\"M{x:.1} {}V{bottom}\"/>\n  \
                 <text class=\"small\" x=\"{x:.1}\" y=\"{}\" text-anchor=\"middle\">{}</text>",
                top + HEAD - 6.0,
                bottom + 15.0,
                (mark * 1e4).round() / 1e4
            );
        }
        for (number, (name, value, words)) in self.bars.iter().enumerate() {
            let y = top + HEAD + ROW * number as f64;
            let class = if *name == NAMES[0] { "ours" } else { "theirs" };
            let (length, middle) = (place(*value).max(1.0), y + ROW / 2.0 - 1.0);
            let end = LEFT + length;
            // The length of a bar would say nothing on a scale that does not begin at zero.
            let mark = match self.is_logarithmic {
                true => {
                    format!("<circle class=\"{class}\" cx=\"{end:.1}\" cy=\"{middle}\" r=\"7\"/>")
                }
                false => format!(
                    "<rect class=\"{class}\" x=\"{LEFT}\" y=\"{}\" width=\"{length:.1}\" height=\"16\"/>",
                    middle - 8.0
                ),
            };
            let _ = writeln!(
                into,
                "  <text x=\"{}\" y=\"{y}\" text-anchor=\"end\">{}</text>\n  {mark}\n  \
                 <text class=\"strong\" x=\"{:.1}\" y=\"{y}\">{words}</text>",
                LEFT - 14.0,
                display(name),
                end + 12.0,
                y = middle + 5.0,
            );
        }
    }

    /// Where its scale has figures.
    fn marks(&self, first: f64, last: f64) -> Vec<f64> {
        if self.is_logarithmic {
            let decades = first as i32..=last as i32;
            return decades.map(|decade| 10_f64.powi(decade)).collect();
        }
        let step = 10_f64.powf(last.log10().floor());
        let step = if last / step > 5.0 { step * 2.0 } else { step };
        let step = if last / step < 2.0 { step / 2.0 } else { step };
        let count = (last / step) as usize;
        (0..=count).map(|number| number as f64 * step).collect()
    }
}

/// As the tables have them.
fn display(name: &str) -> &str {
    match name {
        "postern" => "Postern",
        "ruleset" => "wiki's ruleset",
        name => name,
    }
}

/// Draws them, as SVG with its text as text.
pub(crate) fn draw(results: &Results) -> String {
    let against = |bench: &'static str, what: &'static str, other: &'static str| {
        move |name: &str| results.ratio(bench, what, name, other)
    };
    let mut floods = Panel::new(
        "Honest attempts that opened under floods, of all",
        false,
        |name| {
            let (opened, all) = sum_of_floods(results, name);
            (all > 0.0).then_some(opened / all)
        },
    );
    for (name, _, words) in &mut floods.bars {
        let (opened, all) = sum_of_floods(results, name);
        *words = format!("{opened} of {all}");
    }
    let panels = [
        Panel::new(
            "Last knock to open port, of the ruleset's time (each step is ten times more)",
            true,
            against("latency", latency::SOCKETS, "ruleset"),
        ),
        floods,
        Panel::new(
            "The daemon's memory after a million sources, of before",
            false,
            |name| growth_of(results, name),
        ),
        Panel::new(
            "The daemon's processor time under first knocks, of Postern's (each step is ten times more)",
            true,
            against("processor", "first knocks", "postern"),
        ),
        Panel::new(
            "Bulk TCP sent on by routes, of no guard; others: a ruleset that asks for ct state",
            false,
            |name| {
                let name = if name == "postern" { name } else { "ct state" };
                results.value("forward", forward::BY_ROUTE, name)
            },
        ),
        Panel::new(
            "Bytes on disk with libraries other than libc, of Postern's",
            false,
            against("disk", "with libraries", "postern"),
        ),
    ];
    let mut body = String::new();
    let mut top = MARGIN - 8.0;
    for panel in &panels {
        panel.draw(top, &mut body);
        top += panel.height();
    }
    let height = top + 8.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-labelledby=\"title text\">\n  \
         <title id=\"title\">Postern beside others</title>\n  \
         <desc id=\"text\">The figures of the tables beside it: what `make bench` found on {}.</desc>\n  \
         <style>\n    {STYLE}\n  </style>\n\n  \
         <!-- A ground of its own, so that it can be read on pages of any colour. -->\n  \
         <rect x=\"1\" y=\"1\" width=\"{}\" height=\"{}\" rx=\"12\" fill=\"#f6f8fa\" stroke=\"#d0d7de\" stroke-width=\"2\"/>\n\n\
         {body}</svg>\n",
        results.run,
        WIDTH - 2.0,
        height - 2.0,
    )
}
