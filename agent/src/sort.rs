//! Sorting whose work is in the program once, whatever is sorted.

use core::cmp::Ordering;
use core::mem;

use crate::collect::CollectVec;

/// Sorts as `sort_by` does: what is neither before nor behind another stays where it is.
pub(crate) fn sort<T>(items: &mut [T], is_before: &dyn Fn(&T, &T) -> bool) {
    let order = order(items.len(), &|one, other| {
        let pair = items.get(one).zip(items.get(other));
        pair.is_some_and(|(one, other)| is_before(one, other))
    });
    arrange(order, &mut |one, other| items.swap(one, other));
}

fn order(count: usize, is_before: &dyn Fn(usize, usize) -> bool) -> Vec<usize> {
    let mut order = (0..count).collect_vec();
    order.sort_unstable_by(|one, other| match is_before(*one, *other) {
        true => Ordering::Less,
        false if is_before(*other, *one) => Ordering::Greater,
        false => one.cmp(other),
    });
    order
}

/// Puts at each place what is at the one that the order has there.
fn arrange(mut order: Vec<usize>, swap: &mut dyn FnMut(usize, usize)) {
    for start in 0..order.len() {
        let mut at = start;
        while let Some(from) = order.get_mut(at) {
            let from = mem::replace(from, at);
            if from == start {
                break;
            }
            swap(at, from);
            at = from;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_comes_into_order_and_equals_keep_theirs() {
        for count in 0..40_u32 {
            let numbers = (0..count).map(|number| (number * 7919 % 23, number));
            let mut sorted = numbers.collect_vec();
            let mut expected = sorted.clone();
            expected.sort_by_key(|(key, _)| *key);
            sort(&mut sorted, &|(one, _), (other, _)| one < other);
            assert_eq!(sorted, expected);
        }
    }
}
