//! Which of several servers to believe (RFC 5905 §11.2.1).

use super::sample::Offset;

/// What the servers agree on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Selected {
    /// The median of those that agree.
    pub offset: Offset,
    /// Those that agree, a bit for each: bit 0 is the first.
    pub agreeing: u32,
}

/// Servers that [`select`] looks at; more are left out.
pub(crate) const SERVERS_MAX: usize = 16;

/// Says what most servers agree on. Each is an offset and by how much it may be wrong, in nanoseconds. None when no more than half
/// of them can be right at once: then one lies, and nobody knows which.
///
/// The true time lies within every right server's interval. So the most intervals that have a point in common are found, as long as
/// they are more than half; the others are falsetickers. Allocates nothing.
pub fn select(servers: &[(Offset, u64)]) -> Option<Selected> {
    let servers = &servers[..servers.len().min(SERVERS_MAX)];
    let n = servers.len();
    let ends = |(offset, radius): &(Offset, u64)| {
        let (middle, radius) = (i128::from(offset.as_nanos()), i128::from(*radius));
        (middle - radius, middle + radius)
    };
    let mut edges = [(0i128, 0i8); 2 * SERVERS_MAX];
    for (at, server) in servers.iter().enumerate() {
        let (low, high) = ends(server);
        edges[2 * at] = (low, -1);
        edges[2 * at + 1] = (high, 1);
    }
    // Where one ends and another begins they touch: beginnings come first.
    let edges = &mut edges[..2 * n];
    edges.sort_unstable();
    for falsetickers in 0..n.div_ceil(2) {
        let wanted = (n - falsetickers) as i32;
        let Some(low) = reach(edges.iter().map(|(at, side)| (*at, -i32::from(*side))), wanted) else { continue };
        let Some(high) = reach(edges.iter().rev().map(|(at, side)| (*at, i32::from(*side))), wanted) else { continue };
        let outside = servers.iter().filter(|(offset, _)| {
            let middle = i128::from(offset.as_nanos());
            middle < low || middle > high
        });
        if low > high || outside.count() > falsetickers {
            continue;
        }
        let mut middles = [0i64; SERVERS_MAX];
        let (mut count, mut agreeing) = (0, 0);
        for (at, server) in servers.iter().enumerate() {
            let (begin, end) = ends(server);
            if begin <= high && end >= low {
                middles[count] = server.0.as_nanos();
                count += 1;
                agreeing |= 1 << at;
            }
        }
        if 2 * count <= n {
            continue;
        }
        return Some(Selected { offset: Offset::from_nanos(median(&mut middles[..count])), agreeing });
    }
    None
}

/// The first edge at which this many intervals are open.
fn reach(edges: impl Iterator<Item = (i128, i32)>, wanted: i32) -> Option<i128> {
    let mut open = 0;
    for (at, change) in edges {
        open += change;
        if open >= wanted {
            return Some(at);
        }
    }
    None
}

/// Of an even number: the mean of the two in the middle.
fn median(values: &mut [i64]) -> i64 {
    values.sort_unstable();
    let upper = values.len() / 2;
    match (values.len() % 2, values.get(upper), values.get(upper.wrapping_sub(1))) {
        (0, Some(upper), Some(lower)) => ((i128::from(*upper) + i128::from(*lower)) / 2) as i64,
        (_, Some(middle), _) => *middle,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ms(ms: i64) -> Offset {
        Offset::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn rfc_5905_11_2_1_the_median_of_those_that_agree() {
        // (name, (offset, radius) in ms, (offset, who agrees))
        type Row<'a> = (&'a str, &'a [(i64, u64)], Option<(i64, u32)>);
        let table: &[Row<'_>] = &[
            ("nobody", &[], None),
            ("one", &[(7, 1)], Some((7, 0b1))),
            ("two that agree", &[(10, 5), (14, 5)], Some((12, 0b11))),
            ("two that do not: nobody knows who lies", &[(10, 5), (500, 5)], None),
            ("a falseticker among three", &[(10, 5), (3_600_000, 5), (12, 5)], Some((11, 0b101))),
            ("a falseticker that comes first", &[(-9000, 5), (10, 5), (12, 5)], Some((11, 0b110))),
            ("two falsetickers among five", &[(1, 2), (900, 2), (2, 2), (3, 2), (-900, 2)], Some((2, 0b1101))),
            ("two falsetickers that agree, among four", &[(1, 2), (900, 2), (2, 2), (901, 2)], None),
            ("three that disagree", &[(0, 1), (100, 1), (200, 1)], None),
            ("a vague one among exact ones", &[(40, 100), (1, 2), (2, 2)], Some((2, 0b111))),
            ("they touch", &[(0, 5), (10, 5)], None),
            ("extremes", &[(i64::MAX / 1_000_000, u64::MAX / 1_000_000), (0, 1), (0, 1)], Some((0, 0b111))),
        ];
        for (name, servers, expected) in table {
            let servers: Vec<_> = servers.iter().map(|(offset, radius)| (ms(*offset), radius * 1_000_000)).collect();
            let got = select(&servers).map(|selected| (selected.offset, selected.agreeing));
            let expected = expected.map(|(offset, agreeing)| (ms(offset), agreeing));
            // Where the intervals only touch, the middles lie outside of what they share.
            assert_eq!(got, expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_minority_of_liars_changes_little(
            honest in proptest::collection::vec((-1000i64..1000, 1000u64..5000), 1..8),
            liars in proptest::collection::vec((any::<i64>(), 0u64..1000), 0..7),
        ) {
            // The truth is 0, and every honest interval contains it.
            prop_assume!(liars.len() < honest.len());
            let all: Vec<_> = honest.iter().chain(&liars).map(|(o, r)| (Offset::from_nanos(*o), *r)).collect();
            if let Some(selected) = select(&all) {
                prop_assert!(selected.offset.abs().as_nanos() <= 6000, "{:?}", selected);
                prop_assert!(2 * selected.agreeing.count_ones() as usize > all.len());
            }
        }

        #[test]
        fn honest_servers_alone_are_always_believed(
            honest in proptest::collection::vec((-1000i64..1000, 2000u64..5000), 1..16),
        ) {
            let all: Vec<_> = honest.iter().map(|(o, r)| (Offset::from_nanos(*o), *r)).collect();
            let selected = select(&all).expect("a majority");
            prop_assert_eq!(selected.agreeing.count_ones() as usize, all.len());
        }
    }
}
