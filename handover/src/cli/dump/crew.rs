//! Threads that share work whose results have an order: each takes the next item, works on it by itself, and hands the result on when its turn
//! comes.
//!
//! - **W1** Items are taken by one at a time and numbered as they are taken; results are handed on by their numbers. So what comes out does not
//!   depend on how many threads there are.
//! - **W2** Who is ahead waits with one result in its hands: memory is bounded by the number of threads.
//! - **W3** Whatever ends one — a result that is refused, a panic — ends all: nobody waits for a turn that does not come.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// Most threads: taking is done by one at a time, so more would wait for that.
const MOST_THREADS: usize = 4;

/// Takes items until there are none, works on them with what `worker` makes for each thread, and hands the results on in the order of their items. A
/// result is worked into the one that the same thread handed on before, so that its memory serves again.
///
/// # Errors
/// The first that `hand_on` or, in their order, a worker gives; then nothing more is handed on.
pub(super) fn each<T, R: Default, E: Send, W: FnMut(T, &mut R) -> Result<(), E>>(
    take: impl FnMut() -> Option<T> + Send,
    worker: impl Fn() -> W + Sync,
    hand_on: impl FnMut(&R) -> Result<(), E> + Send,
) -> Result<(), E> {
    let crew = Crew {
        taken: Mutex::new((take, 0)),
        handed: Mutex::new(Handed {
            hand_on,
            next: 0,
            over: None,
        }),
        turn: Condvar::new(),
    };
    let threads = thread::available_parallelism().map_or(1, usize::from).min(MOST_THREADS);
    thread::scope(|scope| {
        for i in 1..threads {
            let member = || crew.work(worker());
            // With fewer it takes longer.
            let _ = thread::Builder::new()
                .name(format!("crew {i}"))
                .spawn_scoped(scope, member);
        }
        crew.work(worker());
    });
    let handed = crew.handed.into_inner().unwrap_or_else(PoisonError::into_inner);
    handed.over.unwrap_or(Ok(()))
}

struct Crew<I, O, E> {
    /// How items are taken, and the number of the next.
    taken: Mutex<(I, u64)>,
    handed: Mutex<Handed<O, E>>,
    /// Told when `handed` changes.
    turn: Condvar,
}

struct Handed<O, E> {
    hand_on: O,
    /// The number of the next result.
    next: u64,
    /// The work is over before its end.
    over: Option<Result<(), E>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<I, O, E> Crew<I, O, E> {
    fn work<T, R: Default>(&self, mut worker: impl FnMut(T, &mut R) -> Result<(), E>)
    where
        I: FnMut() -> Option<T>,
        O: FnMut(&R) -> Result<(), E>,
    {
        let mut panics = Panics {
            crew: self,
            armed: true,
        };
        let mut result = R::default();
        loop {
            let (number, item) = {
                let mut taken = lock(&self.taken);
                let number = taken.1;
                let Some(item) = (taken.0)() else { break };
                taken.1 += 1;
                (number, item)
            };
            let worked = worker(item, &mut result);
            let mut handed = lock(&self.handed);
            while handed.next != number && handed.over.is_none() {
                handed = self.turn.wait(handed).unwrap_or_else(PoisonError::into_inner);
            }
            if handed.over.is_some() {
                break;
            }
            handed.next += 1;
            let worked = worked.and_then(|()| (handed.hand_on)(&result));
            if worked.is_err() {
                handed.over = Some(worked);
            }
            self.turn.notify_all();
        }
        panics.armed = false;
    }
}

/// Ends the work of all if one panics (W3); the panic itself goes on when all have ended.
struct Panics<'c, I, O, E> {
    crew: &'c Crew<I, O, E>,
    armed: bool,
}

impl<I, O, E> Drop for Panics<'_, I, O, E> {
    fn drop(&mut self) {
        if self.armed {
            lock(&self.crew.handed).over.get_or_insert(Ok(()));
            self.crew.turn.notify_all();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    const ITEMS: u64 = 2_000;

    /// Works on the numbers below [`ITEMS`]; the odd ones take longer. What was handed on, and how it ended.
    fn run(work: impl Fn(u64) -> Result<u64, String> + Sync, refused: u64) -> (Vec<u64>, Result<(), String>) {
        let (mut next, mut out) = (0, Vec::new());
        let take = || {
            next += 1;
            (next <= ITEMS).then_some(next - 1)
        };
        let worker = || {
            |item: u64, result: &mut u64| {
                if item % 2 == 1 {
                    thread::yield_now();
                }
                *result = work(item)?;
                Ok(())
            }
        };
        let hand_on = |result: &u64| {
            if *result == refused {
                return Err(format!("{result} refused"));
            }
            out.push(*result);
            Ok(())
        };
        let ended = each(take, worker, hand_on);
        (out, ended)
    }

    #[test]
    fn results_come_in_the_order_of_their_items() {
        let (out, ended) = run(|item| Ok(item * 3), u64::MAX);
        assert_eq!((out, ended), ((0..ITEMS).map(|i| i * 3).collect(), Ok(())));
    }

    #[test]
    fn nothing_comes_behind_an_error() {
        let fails = |item| if item == 700 { Err("no".into()) } else { Ok(item) };
        assert_eq!(run(fails, u64::MAX), ((0..700).collect(), Err("no".into())));
        assert_eq!(run(Ok, 1_000), ((0..1_000).collect(), Err("1000 refused".into())));
    }

    #[test]
    fn a_panic_ends_all() {
        for at in [0, 1, 500, ITEMS - 1] {
            let panics = |item| if item == at { panic!("on purpose") } else { Ok(item) };
            let ended = catch_unwind(AssertUnwindSafe(|| run(panics, u64::MAX)));
            assert!(ended.is_err(), "a panic at {at} was lost");
        }
    }
}
