//! What goes by the clock: ticks of the timers function, and clocks that are put right.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use shared::clock::Clock as _;
use timers::Timers;

use crate::time::{Ended, SimClock};
use crate::world::{CLOCK_STEP_MAX_MS, INSTANCES, World};

const TICK: Duration = Duration::from_secs(60);
/// Longer before it is due than the timers function looks ahead, a timer is none of its business.
const TICK_AHEAD_MS: u64 = 200_000;

/// Starts both.
pub fn start(world: &Arc<World>) {
    world.sim.spawn(keep_time(world.clone()));
    if world.faults.rates.clock_step > 0 {
        world.sim.spawn(step_clocks(world.clone()));
    }
}

/// Ticks the timers function, twice at a time: schedules can fire twice.
async fn keep_time(world: Arc<World>) {
    let mut instances: [Option<Timers>; INSTANCES] = [None, None];
    loop {
        world.sim.sleep(TICK.mul_f64(0.9 + world.dice.below(200) as f64 / 1000.0)).await;
        let now = SimClock::new(&world.sim).ms();
        if world.aws.first_timer().is_none_or(|due| due > now + TICK_AHEAD_MS) {
            continue;
        }
        let both = world.faults.strikes(world.faults.rates.duplicate, "tick twice");
        let timeout = world.timeout("timers");
        let ticks = instances.iter_mut().take(if both { 2 } else { 1 }).map(async |instance| {
            let timers = instance
                .get_or_insert_with(|| world.connect("timers", true, Timers::connect).expect("it connects"));
            let deadline = SimClock::new(&world.sim).now().after(timeout);
            let ended = world.invoke("timers", timeout, timers.handle(deadline)).await;
            if ended_badly(&ended) {
                *instance = None;
            }
        });
        futures_util::future::join_all(ticks).await;
        instances.rotate_left(world.dice.below(INSTANCES));
        world.aws.look_at_timers(&world.log_table);
    }
}

fn ended_badly<T>(ended: &Ended<T>) -> bool {
    matches!(ended, Ended::Crashed | Ended::TimedOut)
}

/// Steps clocks as a time service does that corrects itself.
async fn step_clocks(world: Arc<World>) {
    loop {
        world.sim.sleep(world.dice.millis(1_000, 60_000)).await;
        let clocks = world.clocks.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for clock in clocks {
            if world.faults.strikes(world.faults.rates.clock_step, "clock step") {
                let step = world.dice.between(0, 2 * CLOCK_STEP_MAX_MS) as i64;
                clock.set_offset(step - CLOCK_STEP_MAX_MS as i64);
            }
        }
        if world.sim.now() > world.faults.until() {
            for clock in world.clocks.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                clock.set_offset(0);
            }
            return;
        }
    }
}
