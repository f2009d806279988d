//! Lists of what iterators yield.

pub(crate) trait CollectVec: Iterator + Sized {
    /// As `collect` does, which has the iterator in the program twice: for the first item, and for the others.
    fn collect_vec(self) -> Vec<Self::Item> {
        let mut items = Vec::new();
        for item in self {
            items.push(item);
        }
        items
    }
}

impl<I: Iterator> CollectVec for I {}
