//! The table.

use crate::Store;
use crate::load::Case;
use crate::processes::Usage;
use std::fmt::Write as _;
use std::time::Duration;

/// One round: both servers, one after the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) floor: Usage,
    pub(crate) product: Usage,
}

pub(crate) struct Row {
    pub(crate) case: Case,
    pub(crate) store: Store,
    pub(crate) samples: Vec<Sample>,
}

/// The least, the one in the middle, the most.
fn spread(samples: &[Sample], of: impl Fn(&Sample) -> f64) -> [f64; 3] {
    let mut values: Vec<f64> = samples.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let at = |place: usize| values.get(place).copied().unwrap_or(f64::NAN);
    let last = values.len().saturating_sub(1);
    // Of an even number, between the two in the middle.
    let middle = f64::midpoint(at(last / 2), at(values.len() / 2));
    [at(0), middle, at(last)]
}

fn rate(usage: &Usage) -> f64 {
    f64::from(usage.requests) / usage.elapsed.as_secs_f64()
}

fn foreign(usage: &Usage) -> f64 {
    let whole = usage.elapsed.max(Duration::from_millis(1));
    100.0 * usage.foreign.as_secs_f64() / whole.as_secs_f64()
}

/// As Markdown.
pub(crate) fn table(rows: &[Row]) -> String {
    let mut table = String::from(
        "| case | store | floor, µs CPU (of that Redis) | Rolemint, µs CPU (of that Redis) | ratio (min–max) | floor, requests/s | Rolemint, requests/s | others' CPU |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for Row { case, store, samples } in rows {
        let [_, floor, _] = spread(samples, |sample| sample.floor.micros());
        let [_, product, _] = spread(samples, |sample| sample.product.micros());
        let [_, floor_store, _] = spread(samples, |sample| sample.floor.store_micros());
        let [_, product_store, _] = spread(samples, |sample| sample.product.store_micros());
        let [least, ratio, most] =
            spread(samples, |sample| sample.product.micros() / sample.floor.micros());
        let [_, floor_rate, _] = spread(samples, |sample| rate(&sample.floor));
        let [_, product_rate, _] = spread(samples, |sample| rate(&sample.product));
        let [_, others, _] =
            spread(samples, |sample| foreign(&sample.floor).max(foreign(&sample.product)));
        // Writing to a string does not fail.
        let _ = writeln!(
            table,
            "| {} | {} | {floor:.1} ({floor_store:.1}) | {product:.1} ({product_store:.1}) | {ratio:.2} ({least:.2}–{most:.2}) | {floor_rate:.0} | {product_rate:.0} | {others:.0} % |",
            case.name(),
            store.name(),
        );
    }
    table
}
