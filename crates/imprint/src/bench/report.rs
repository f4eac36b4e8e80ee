//! The figures, as ratios: machines differ and drift.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::cli::BenchEnroll;

use super::calibrate::Calibration;
use super::child::Groups;

/// What one run says.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    kind: &'static str,
    enrollments: usize,
    in_flight: u32,
    server_cpu_us: f64,
    rate_per_second: f64,
    rate_per_server_core: f64,
    p50_ms: f64,
    p99_ms: f64,
    group_mean: f64,
    v_us: f64,
    server_cpu_v: f64,
    p_v: f64,
    c1_v: f64,
    c2_v: f64,
    of_p: f64,
    of_c1: f64,
    of_c2: f64,
    parts_us: Parts,
    load_average: String,
    void: Vec<String>,
}

/// What the composite floor is made of.
#[derive(Debug, Serialize)]
struct Parts {
    handshake: f64,
    request: f64,
    issue: f64,
    tcp: f64,
    row: f64,
}

impl Report {
    pub(crate) fn new(
        order: &BenchEnroll,
        latencies: &[Duration],
        wall: Duration,
        cpu_seconds: f64,
        groups: Groups,
        floor: &Calibration,
    ) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of enrollments are far below 2^52"
        )]
        let count = latencies.len() as f64;
        let cpu = cpu_seconds * 1e6 / count;
        let v = floor.verify;
        let (c1, c2) = (floor.composite(), floor.composite() + floor.row);
        let (p_want, c_want) = if order.mtls { (4.28, 6.6) } else { (2.28, 4.5) };
        let void = [
            off("P/V", floor.primitives() / v, p_want),
            off("C/V", c1 / v, c_want),
        ];
        Self {
            kind: if order.mtls {
                "renewal over mutual TLS"
            } else {
                "first enrollment by token"
            },
            enrollments: latencies.len(),
            in_flight: order.in_flight,
            server_cpu_us: cpu,
            rate_per_second: count / wall.as_secs_f64(),
            rate_per_server_core: 1e6 / cpu,
            p50_ms: percentile(latencies, 50),
            p99_ms: percentile(latencies, 99),
            group_mean: groups.mean,
            v_us: v,
            server_cpu_v: cpu / v,
            p_v: floor.primitives() / v,
            c1_v: c1 / v,
            c2_v: c2 / v,
            of_p: cpu / floor.primitives(),
            of_c1: cpu / c1,
            of_c2: cpu / c2,
            parts_us: Parts {
                handshake: floor.handshake,
                request: floor.request,
                issue: floor.issue,
                tcp: floor.tcp,
                row: floor.row,
            },
            load_average: std::fs::read_to_string("/proc/loadavg")
                .unwrap_or_default()
                .trim()
                .into(),
            void: void.into_iter().flatten().collect(),
        }
    }

    /// Whether the machine was too disturbed for the figures to mean anything.
    pub(crate) fn is_void(&self) -> bool {
        !self.void.is_empty()
    }

    pub(crate) fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            kind,
            enrollments,
            in_flight,
            parts_us: parts,
            ..
        } = self;
        writeln!(
            f,
            "{enrollments} times {kind}, {in_flight} in flight, each on its own connection\n"
        )?;
        writeln!(
            f,
            "server CPU   {:7.1} us each = {:.2} V  ({:.0} a second and core)",
            self.server_cpu_us, self.server_cpu_v, self.rate_per_server_core
        )?;
        writeln!(
            f,
            "seen         {:7.0} a second, p50 {:.1} ms, p99 {:.1} ms, groups of {:.1} operations",
            self.rate_per_second, self.p50_ms, self.p99_ms, self.group_mean
        )?;
        writeln!(
            f,
            "V            {:7.1} us, one P-256 verification, in this run",
            self.v_us
        )?;
        writeln!(
            f,
            "P            {:7.2} V, the cryptography alone       ratio {:.2}",
            self.p_v, self.of_p
        )?;
        writeln!(
            f,
            "C1           {:7.2} V, floor with one durable row   ratio {:.2}",
            self.c1_v, self.of_c1
        )?;
        writeln!(
            f,
            "C2           {:7.2} V, floor with two               ratio {:.2}",
            self.c2_v, self.of_c2
        )?;
        writeln!(
            f,
            "C1 is        handshake {:.1} + request {:.1} + issue {:.1} + tcp {:.1} + row {:.1} us",
            parts.handshake, parts.request, parts.issue, parts.tcp, parts.row
        )?;
        write!(f, "load         {}", self.load_average)?;
        for reason in &self.void {
            write!(f, "\nvoid         {reason}")?;
        }
        Ok(())
    }
}

fn off(name: &str, is: f64, want: f64) -> Option<String> {
    let share = (is / want - 1.0).abs();
    (share > 0.15).then(|| {
        format!("{name} is {is:.2}, the reference machine's is {want:.2}: more than 15 % apart")
    })
}

pub(crate) fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted
        .get(at)
        .map_or(f64::NAN, |latency| latency.as_secs_f64() * 1e3)
}
