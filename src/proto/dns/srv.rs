//! The order in which a service's hosts are tried.

use super::message::Srv;
use super::query::Bits;

/// Orders them by priority, and at random within one, the heavier ones more often in front (RFC 2782, "Weight").
pub(crate) fn order_services(mut services: Vec<Srv>, bits: Bits<'_>) -> Vec<Srv> {
    // Those without weight come first in each round, so that their chance is small but there.
    services.sort_by_key(|srv| (srv.priority, srv.weight > 0));
    let mut ordered = Vec::with_capacity(services.len());
    while let Some(first) = services.first() {
        let priority = first.priority;
        let group = services.partition_point(|srv| srv.priority == priority);
        let sum: u64 = services[..group].iter().map(|srv| u64::from(srv.weight)).sum();
        let drawn = bits() % (sum + 1);
        let mut passed = 0;
        let at = services[..group].iter().position(|srv| {
            passed += u64::from(srv.weight);
            passed >= drawn
        });
        let at = at.unwrap_or(0);
        ordered.push(services.remove(at));
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rfc_2782_priority_decides_and_weight_within_it() {
        let srv = |priority, weight, port| Srv { priority, weight, port, target: "h.lan".parse().unwrap() };
        let given = vec![srv(20, 0, 4), srv(10, 0, 3), srv(10, 90, 1), srv(10, 10, 2)];
        let mut rng = 1u64;
        let mut first = [0; 5];
        for _ in 0..1000 {
            let mut bits = || {
                rng ^= rng << 13;
                rng ^= rng >> 7;
                rng ^= rng << 17;
                rng
            };
            let ports: Vec<u16> = order_services(given.clone(), &mut bits).iter().map(|srv| srv.port).collect();
            assert_eq!(ports[3], 4);
            first[usize::from(ports[0])] += 1;
        }
        assert!(
            (840..940).contains(&first[1]) && (60..150).contains(&first[2]) && (1..40).contains(&first[3]),
            "{first:?}"
        );
        assert!(order_services(Vec::new(), &mut || 0).is_empty());
    }
}
