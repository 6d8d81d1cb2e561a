//! Medians, percentiles and means.

/// The geometric mean; `None` of nothing, or when a number is not over 0.
pub fn geometric_mean(numbers: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for number in numbers {
        if number <= 0.0 || !number.is_finite() {
            return None;
        }
        sum += number.ln();
        count += 1;
    }
    (count > 0).then(|| (sum / f64::from(count)).exp())
}

/// The middle one by this figure; the lower one of two. `None` of nothing.
pub fn median_by<T>(runs: &[T], figure: impl Fn(&T) -> f64) -> Option<&T> {
    let mut order: Vec<&T> = runs.iter().collect();
    order.sort_by(|a, b| figure(a).total_cmp(&figure(b)));
    order.get(order.len().saturating_sub(1) / 2).copied()
}

/// The smallest of `sorted` that at least `percent` of them do not exceed; `None` of nothing.
pub fn percentile(sorted: &[i64], percent: f64) -> Option<i64> {
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometric_means() {
        assert!((geometric_mean([2.0, 8.0]).unwrap() - 4.0).abs() < 1e-9);
        assert_eq!(geometric_mean([]), None);
        assert_eq!(geometric_mean([1.0, 0.0]), None);
    }

    #[test]
    fn medians() {
        assert_eq!(median_by(&[3.0, 1.0, 2.0], |n| *n), Some(&2.0));
        assert_eq!(median_by(&[4.0, 1.0], |n| *n), Some(&1.0));
        assert_eq!(median_by::<f64>(&[], |n| *n), None);
    }

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let sorted: Vec<i64> = (1..=200).collect();
        assert_eq!(percentile(&sorted, 50.0), Some(100));
        assert_eq!(percentile(&sorted, 99.0), Some(198));
        assert_eq!(percentile(&sorted, 100.0), Some(200));
        assert_eq!(percentile(&[7], 0.0), Some(7));
        assert_eq!(percentile(&[], 50.0), None);
    }
}
