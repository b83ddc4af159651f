//! What a delivery holds.

use super::*;

/// What `work` holds from its beginning to its end.
const fn size_of_job<'a, F>(_work: &impl Fn(&'a Deliver, &'a Batch, Received) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn a_delivery_that_waits_for_its_receiver_holds_10_kb() {
    let size = size_of_job(&Deliver::work);
    assert!(
        size <= 10 * 1024,
        "{size} bytes, of which most is for requests that are made before or after: box them"
    );
}
