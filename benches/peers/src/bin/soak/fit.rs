//! A straight line through samples, and how sure its slope is.

/// A slope and the half of its 95 % interval, in units of y for each unit of x.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Slope {
    pub(crate) per_x: f64,
    pub(crate) error: f64,
}

/// Samples that are so near to each other are not independent: memory stays as it is from one second to the next.
const LAGS: usize = 60;

/// Least squares. The error is that of Newey and West (1987), which takes into account that neighbours are alike. None with fewer than
/// three samples, or all at one x.
pub(crate) fn slope(samples: &[(f64, f64)]) -> Option<Slope> {
    let count = samples.len() as f64;
    if samples.len() < 3 {
        return None;
    }
    let mean = |of: fn(&(f64, f64)) -> f64| samples.iter().map(of).sum::<f64>() / count;
    let (x_mean, y_mean) = (mean(|s| s.0), mean(|s| s.1));
    let spread: f64 = samples.iter().map(|(x, _)| (x - x_mean).powi(2)).sum();
    if spread <= 0.0 {
        return None;
    }
    let per_x = samples.iter().map(|(x, y)| (x - x_mean) * (y - y_mean)).sum::<f64>() / spread;
    let moments: Vec<f64> = samples.iter().map(|(x, y)| (x - x_mean) * (y - y_mean - per_x * (x - x_mean))).collect();
    let lags = LAGS.min(samples.len() / 4);
    let covariance = |lag: usize| moments.iter().zip(&moments[lag..]).map(|(a, b)| a * b).sum::<f64>();
    let weighed = |lag: usize| 2.0 * (1.0 - lag as f64 / (lags + 1) as f64) * covariance(lag);
    let variance = covariance(0) + (1..=lags).map(weighed).sum::<f64>();
    Some(Slope { per_x, error: 1.96 * variance.max(0.0).sqrt() / spread })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_straight_line_is_found_and_certain() {
        let line: Vec<(f64, f64)> = (0..100).map(|x| (f64::from(x), 7.0 + 3.0 * f64::from(x))).collect();
        let found = slope(&line).expect("a slope");
        assert!((found.per_x - 3.0).abs() < 1e-9 && found.error < 1e-6, "{found:?}");
    }

    #[test]
    fn what_goes_up_and_down_is_flat_within_its_error() {
        let wave: Vec<(f64, f64)> = (0..1000).map(|x| (f64::from(x), (f64::from(x) / 20.0).sin())).collect();
        let found = slope(&wave).expect("a slope");
        assert!(found.per_x.abs() <= found.error && found.error < 1e-3, "{found:?}");
    }

    #[test]
    fn a_leak_is_seen_through_the_noise() {
        let leak = |x: i32| (f64::from(x), f64::from(x) * 0.01 + f64::from(x * 7919 % 13));
        let found = slope(&(0..1500).map(leak).collect::<Vec<_>>()).expect("a slope");
        assert!((found.per_x - 0.01).abs() < found.error && found.error < 0.005, "{found:?}");
    }

    #[test]
    fn too_little_has_no_slope() {
        assert_eq!((slope(&[]), slope(&[(1.0, 2.0); 9])), (None, None));
    }
}
