//! Owns the first plain dashboard: the board, the trends and the ledger of one site on one page.
//!
//! Promises: charts are drawn here, as SVG, and nothing is loaded from elsewhere; every value that came
//! from outside is escaped; the page reloads itself every ten seconds without a script.

use super::respond::escape;
use crate::desk::text::rfc3339;
use crate::desk::text::grouped;
use crate::hit::clock::{Hour, Moment};
use crate::hit::outcome::{Ends, Outcome, Reason};
use crate::line::board::View;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// What the page shows.
pub struct Shown<'a> {
    pub sites: Vec<(&'a str, &'a str)>,
    pub site: &'a str,
    pub board: View,
    pub ledger: BTreeMap<Hour, Ends>,
    /// Hour and page views, visitors of the last 7 days; `None` where the lake could not be read.
    pub trends: Option<Vec<(Moment, u64, u64)>>,
    pub now: Moment,
}

/// The dashboard as HTML.
pub fn page(shown: &Shown<'_>) -> String {
    let mut html = String::with_capacity(16 << 10);
    let _ = write!(html, "{HEAD}<meta http-equiv=refresh content=10><title>{} · clearpixel</title></head><body>", escape(shown.site));
    let _ = write!(html, "<header><h1>clearpixel</h1><nav aria-label=Sites>");
    for (key, name) in &shown.sites {
        let current = if *key == shown.site { " aria-current=page" } else { "" };
        let _ = write!(html, "<a href=\"/?site={}\"{current}>{}</a>", escape(key), escape(name));
    }
    let _ = write!(html, "</nav><p class=when>{}</p></header><main>", rfc3339(shown.now));
    board(&mut html, &shown.board);
    trends(&mut html, shown);
    ledger(&mut html, &shown.ledger);
    html.push_str("</main><footer>Country by <a href=\"https://db-ip.com\">IP Geolocation by DB-IP</a>.</footer></body></html>");
    html
}

/// The page that asks for the token.
pub const fn login() -> &'static str {
    concat!(
        "<!doctype html><html lang=en><head><meta charset=utf-8><link rel=icon href=\"data:,\"><meta name=viewport content=\"width=device-width\"><title>clearpixel</title>",
        "<style>body{font:1rem/1.5 system-ui,sans-serif;max-width:24rem;margin:15vh auto;padding:0 1rem;color:#16302b}input,button{font:inherit;padding:.6rem;width:100%;box-sizing:border-box;margin:.4rem 0}</style></head>",
        "<body><h1>clearpixel</h1><form method=post action=/login><label>Admin token<input type=password name=token autocomplete=current-password required autofocus></label><button>Open the dashboard</button></form></body></html>"
    )
}

const HEAD: &str = "<!doctype html><html lang=en><head><meta charset=utf-8><link rel=icon href=\"data:,\"><meta name=viewport content=\"width=device-width,initial-scale=1\"><style>\
:root{--ink:#16302b;--soft:#55655f;--line:#d9dfdb;--leaf:#1e6b55;--pale:#cfe5dc;--warm:#b4552d}\
*{box-sizing:border-box}body{margin:0;background:#f6f8f6;color:var(--ink);font:16px/1.5 system-ui,sans-serif}\
header{display:flex;flex-wrap:wrap;gap:.4rem 1.5rem;align-items:baseline;padding:1rem 1.5rem;background:#fff;border-bottom:1px solid var(--line)}\
h1{font-size:1.25rem;margin:0}nav{display:flex;gap:1rem;flex-wrap:wrap}nav a{color:var(--ink)}nav a[aria-current]{font-weight:700;text-decoration-thickness:3px}\
.when{margin:0 0 0 auto;color:var(--soft);font-variant-numeric:tabular-nums}\
main{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(22rem,100%),1fr));gap:1.2rem;padding:1.5rem;max-width:90rem;margin:auto}\
section{background:#fff;border:1px solid var(--line);border-radius:12px;padding:1.1rem 1.3rem}.wide{grid-column:1/-1}\
h2{font-size:1rem;margin:0 0 .7rem}h2 small{font-weight:400;color:var(--soft)}\
dl{display:flex;flex-wrap:wrap;gap:.5rem 2.2rem;margin:0 0 .8rem}dt{color:var(--soft);font-size:.85rem}dd{margin:0;font-size:1.7rem;font-weight:650;font-variant-numeric:tabular-nums;line-height:1.15}\
svg{display:block;width:100%;height:auto}table{border-collapse:collapse;width:100%;font-size:.93rem}th{text-align:left;font-weight:600;color:var(--soft)}td,th{padding:.22rem .3rem;border-bottom:1px solid #edf0ee}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;width:6rem}td.bar{width:40%}td.bar i{display:block;height:.75rem;background:var(--pale);border-radius:3px;min-width:2px}td.v{max-width:14rem;overflow:hidden;text-overflow:ellipsis;white-space:nowrap}\
.none{color:var(--soft)}footer{padding:0 1.5rem 1.5rem;color:var(--soft);font-size:.85rem}</style>";

fn board(html: &mut String, view: &View) {
    html.push_str("<section class=wide><h2>Now <small>from memory: views and interactions of the last 60 minutes; visitors, visits and time of this hour and the last</small></h2><dl>");
    for (name, value) in [
        ("Visitors", number(view.visitors)),
        ("Visits begun", number(view.visits)),
        ("Page views", number(view.page_views)),
        ("Interactions", number(view.interactions)),
        ("Engaged", duration(view.engaged_ms)),
    ] {
        let _ = write!(html, "<div><dt>{name}</dt><dd>{value}</dd></div>");
    }
    html.push_str("</dl>");
    let bars: Vec<(u64, u64)> = view.minutes.clone();
    columns(html, &bars, "Interactions a minute over the last hour, page views darker", ["60 minutes ago", "now"]);
    html.push_str("</section>");
    for (title, dimension) in [("Pages", "page"), ("Sources", "source"), ("Countries", "country"), ("Events", "event"), ("Devices", "device")] {
        let _ = write!(html, "<section><h2>{title} <small>interactions, this hour and the last</small></h2>");
        table(html, view.top.get(dimension).map_or(&[][..], Vec::as_slice));
        html.push_str("</section>");
    }
}

fn trends(html: &mut String, shown: &Shown<'_>) {
    html.push_str("<section class=wide><h2>Trends <small>page views an hour over 7 days, from the lake</small></h2>");
    match &shown.trends {
        None => html.push_str("<p class=none>The lake cannot be read at the moment.</p>"),
        Some(rows) => {
            let first = shown.now.hour().0 - 7 * 24 + 1;
            let mut bars = vec![(0, 0); 7 * 24];
            for (hour, page_views, _) in rows {
                if let Some(bar) = usize::try_from(hour.hour().0 - first).ok().and_then(|at| bars.get_mut(at)) {
                    *bar = (*page_views, *page_views);
                }
            }
            columns(html, &bars, "Page views an hour over 7 days", ["7 days ago", "now"]);
        }
    }
    html.push_str("</section>");
}

fn ledger(html: &mut String, hours: &BTreeMap<Hour, Ends>) {
    let mut sums = Ends::default();
    for ends in hours.values() {
        sums.add(*ends);
    }
    let received: u64 = sums.0.iter().sum();
    let _ = write!(html, "<section class=wide><h2>Ledger <small>how {} hits of the last 24 hours ended</small></h2><table><tr><th>Outcome<th class=n>Hits<th>Share<th>Meaning</tr>", number(received));
    for outcome in Outcome::ALL.into_iter().filter(|outcome| sums.of(*outcome) > 0 || *outcome == Outcome::Stored) {
        let count = sums.of(outcome);
        let meaning = match outcome {
            Outcome::Stored => "durable, on its way to the lake or in it",
            Outcome::Duplicate => "its event id was seen within 24 hours",
            Outcome::Failed => "could not be stored: the sender was told to come again",
            Outcome::Refused(reason) => reason.meaning(),
        };
        let _ = write!(
            html,
            "<tr><td>{}<td class=n>{}<td class=bar><i style=\"width:{:.1}%\"></i><td>{meaning}</tr>",
            outcome.name(),
            number(count),
            share(count, received)
        );
    }
    let _ = write!(html, "</table><p class=none>Reasons looked for, in order: {}.</p></section>", Reason::ALL.map(Reason::name).join(", "));
}

fn table(html: &mut String, rows: &[(String, u64)]) {
    if rows.is_empty() {
        html.push_str("<p class=none>Nothing yet.</p>");
        return;
    }
    let most = rows.iter().map(|(_, count)| *count).max().unwrap_or(1);
    html.push_str("<table>");
    for (value, count) in rows {
        let value = escape(value);
        let _ = write!(
            html,
            "<tr><td class=v title=\"{value}\">{value}<td class=bar><i style=\"width:{:.1}%\"></i><td class=n>{}</tr>",
            share(*count, most),
            number(*count)
        );
    }
    html.push_str("</table>");
}

/// A chart of columns, each `(whole, part)`, the part darker.
fn columns(html: &mut String, bars: &[(u64, u64)], title: &str, ends: [&str; 2]) {
    const WIDTH: usize = 960;
    const HEIGHT: usize = 150;
    let most = bars.iter().map(|(whole, _)| *whole).max().unwrap_or(0).max(1);
    let step = WIDTH as f64 / bars.len().max(1) as f64;
    let _ = write!(html, "<svg viewBox=\"0 0 {WIDTH} {}\" role=img aria-label=\"{title}\"><title>{title}</title>", HEIGHT + 22);
    for (at, (whole, part)) in bars.iter().enumerate() {
        for (count, colour) in [(whole, "#cfe5dc"), (part, "#1e6b55")] {
            let height = *count as f64 / most as f64 * (HEIGHT - 14) as f64;
            if *count > 0 {
                let _ = write!(
                    html,
                    "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>",
                    at as f64 * step,
                    HEIGHT as f64 - height,
                    (step - 1.5).max(1.0),
                    height
                );
            }
        }
    }
    let _ = write!(
        html,
        "<line x1=0 y1={HEIGHT} x2={WIDTH} y2={HEIGHT} stroke=\"#9fb0a9\"/><g font-size=13 fill=\"#55655f\"><text x=0 y=11>{}</text>\
         <text x=0 y={low}>{}</text><text x={WIDTH} y={low} text-anchor=end>{}</text></g></svg>",
        number(most),
        ends[0],
        ends[1],
        low = HEIGHT + 17
    );
}

/// With its thousands apart.
fn number(count: u64) -> String {
    grouped(i64::try_from(count).unwrap_or(i64::MAX))
}

fn share(count: u64, of: u64) -> f64 {
    if of == 0 { 0.0 } else { count as f64 / of as f64 * 100.0 }
}

fn duration(ms: u64) -> String {
    let seconds = ms / 1_000;
    if seconds >= 3_600 { format!("{} h {} min", seconds / 3_600, seconds / 60 % 60) } else { format!("{} min {} s", seconds / 60, seconds % 60) }
}
