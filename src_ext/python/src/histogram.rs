//! Distributions of measured times: the `hdrhistogram` crate for Python.

use hdrhistogram::Histogram as Hdr;
use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

/// How many significant decimal digits of each time are kept.
const DIGITS: u8 = 3;
/// The largest time in units; longer times count as this one. In ticks of some GHz it is minutes.
const LARGEST: u64 = 1 << 40;

/// A distribution of times: counts in buckets that are 0.1 % wide each and are all allocated beforehand.
///
/// Times are counted in units of `unit_ns` nanoseconds (a tick of the processor's counter, or 1) and reported in
/// nanoseconds.
#[pyclass(module = "ztfast._core")]
pub(crate) struct Histogram {
    counts: Hdr<u64>,
    unit_ns: f64,
}

impl Histogram {
    /// Make an empty histogram.
    pub(crate) fn empty(unit_ns: f64) -> PyResult<Self> {
        if !(unit_ns.is_finite() && unit_ns > 0.0) {
            return Err(PyValueError::new_err(format!("unit_ns: wanted nanoseconds above 0, got {unit_ns}")));
        }
        let counts = Hdr::new_with_max(LARGEST, DIGITS).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { counts, unit_ns })
    }

    /// Count a time without allocating.
    #[inline]
    pub(crate) fn add_units(&mut self, units: u64) {
        self.counts.saturating_record(units);
    }

    #[allow(clippy::cast_precision_loss)] // counts of ticks are far below 2^53
    fn told(&self, units: u64) -> f64 {
        units as f64 * self.unit_ns
    }
}

#[pymethods]
impl Histogram {
    #[new]
    #[pyo3(signature = (unit_ns = 1.0))]
    fn new(unit_ns: f64) -> PyResult<Self> {
        Self::empty(unit_ns)
    }

    /// Count a time, given in units.
    fn record(&mut self, units: u64) {
        self.add_units(units);
    }

    /// Add the counts of another histogram of the same unit.
    fn merge(&mut self, other: PyRef<'_, Self>) -> PyResult<()> {
        if (self.unit_ns - other.unit_ns).abs() > f64::EPSILON {
            return Err(PyValueError::new_err(format!(
                "wanted a histogram in units of {} ns, got one in units of {} ns",
                self.unit_ns, other.unit_ns
            )));
        }
        self.counts.add(&other.counts).map_err(|error| PyValueError::new_err(error.to_string()))
    }

    /// How many times were counted.
    #[getter]
    fn count(&self) -> u64 {
        self.counts.len()
    }

    /// The longest time in nanoseconds.
    #[getter]
    fn max_ns(&self) -> f64 {
        self.told(self.counts.max())
    }

    /// Return the nanoseconds that this share of all times does not exceed.
    fn quantile_ns(&self, share: f64) -> PyResult<f64> {
        if !(0.0..=1.0).contains(&share) {
            return Err(PyValueError::new_err(format!("wanted a share from 0 to 1, got {share}")));
        }
        Ok(self.told(self.counts.value_at_quantile(share)))
    }

    /// Count the times that are no longer than so many nanoseconds, to three digits.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // there are no negative times
    fn count_to(&self, ns: f64) -> u64 {
        self.counts.count_between(0, (ns / self.unit_ns) as u64)
    }

    /// Return the share of the sum of all times, from 0 to 1, that times longer than so many nanoseconds make up.
    #[allow(clippy::cast_precision_loss)] // for people
    fn time_share_above(&self, ns: f64) -> f64 {
        let (mut all, mut above) = (0.0, 0.0);
        for step in self.counts.iter_recorded() {
            let told = self.told(step.value_iterated_to());
            let sum = told * step.count_since_last_iteration() as f64;
            all += sum;
            if told > ns {
                above += sum;
            }
        }
        if all > 0.0 { above / all } else { 0.0 }
    }
}
