"""``python -m trainer.pretrain``: packed rows to a pretrained BERT, from top to bottom.

Nothing about a step is state: its rows, masks and dropout follow from (data, config, step). So a
checkpoint is weights, optimizer and a step number, and a run that was killed and restarted equals,
bit for bit on a CPU, one that was not. Steps are counted from 1 in all that is shown or logged;
step s trains on the rows of ``RowOrder.rows(s - 1)``. Runs on JAX, without TensorFlow, unless
KERAS_BACKEND names another backend.
"""

from __future__ import annotations

import time
from dataclasses import asdict

from pipelines.command.run import RunOptions, say
from pipelines.errors import UserError
from pipelines.records.checksums import CHECKSUMS
from pipelines.records.manifest import MANIFEST
from pipelines.records.output_folder import prepare_output
from pipelines.storage import files
from pipelines.text.vocabulary_source import VOCABULARY_FILE
from trainer.data.dataset import repeated_share
from trainer.data.prefetch import Prefetcher
from trainer.data.shard_check import ShardCheck
from trainer.pretraining.budget import settle_budget
from trainer.pretraining.check_config import check_config, check_devices
from trainer.pretraining.checkpoints import Checkpoints
from trainer.pretraining.cluster import all_needed, describe_devices, device_kind, join_cluster
from trainer.pretraining.config import PretrainConfig
from trainer.pretraining.intervals import log_interval, validation_interval
from trainer.pretraining.logs.meter import DivergedError, Meter
from trainer.pretraining.logs.metrics import MetricsLog
from trainer.pretraining.logs.plateau import Plateau
from trainer.pretraining.logs.progress import Progress
from trainer.pretraining.plan import plan_run
from trainer.pretraining.publish import publish_run
from trainer.pretraining.startup import restart_with_huge_pages, run_trainer_command
from trainer.pretraining.step_groups import default_group_size, group_batches
from trainer.pretraining.stop_signals import StopSignals
from trainer.pretraining.validation import (
    count_batches,
    describe_validation,
    evaluate,
    frequency_loss,
)
from trainer.run_folder import FILES, check_same_run, claim_folder, holds_run


@all_needed()
def pretrain(config: PretrainConfig, options: RunOptions = RunOptions()) -> None:
    """Runs the stage. Raises UserError for what the user can fix."""
    started = time.time()
    config = settle_budget(config, options, started)
    check_config(config)

    # ---------------------------------------------------------------------------------- Data
    plan = plan_run(config, None if options.overwrite else config.output)
    steps, rows = plan.steps, plan.rows
    cluster = join_cluster(config.model_parallel, distributed=config.distributed, seed=config.seed)
    check_devices(config, plan.dimensions, cluster.devices)

    def tell(text: str) -> None:
        if cluster.is_first:
            say("pretrain", text)

    check = ShardCheck()
    maker = plan.batch_maker(cluster, check)
    tell(
        f"{rows:,} rows of {plan.datasets[0].seq_length} tokens, {steps:,} steps of "
        f"{config.batch_size} ({steps * config.batch_size / rows:.2f} epochs), vocabulary of "
        f"{plan.datasets[0].vocabulary.size:,}"
    )
    if advice := describe_validation(maker, config.mask_selection_rate):
        tell(advice)
    if options.dry_run:
        tell(f"would write {files.join(config.output, MANIFEST)}")
        return

    # ------------------------------------------------------------------- What is asked for
    deciding = plan.deciding()
    checkpoints = Checkpoints(config.output, config.keep_checkpoints)

    def claim() -> int:
        finished = prepare_output(
            config.output,
            deciding,
            {},
            overwrite=options.overwrite,
            stage="pretrain",
            makes=(*FILES, VOCABULARY_FILE),
            reads=plan.reads(),
            begun=holds_run(config.output),
        )
        if not finished:
            if options.overwrite:
                checkpoints.delete_all()
            checkpoints.delete_remains()
            # Of a run that was killed between this file and its manifest.
            files.delete([files.join(config.output, CHECKSUMS)])
            identity = {"deciding": deciding, "config": asdict(config)}
            claim_folder(config.output, identity, overwrite=options.overwrite)
        return int(finished)

    if cluster.agree(claim):
        tell(f"{config.output} is finished already; nothing to do")
        return

    # --------------------------------------------------------------------------------- Model
    import keras

    newest = cluster.agree(checkpoints.newest)
    model, train_step, schedule = plan.build(cluster, begins=not newest)

    # -------------------------------------------------------------------------------- Resume
    done, seconds_before, window, logged = 0, 0.0, [], None
    if newest:
        arrays, record = checkpoints.load(newest)
        check_same_run(config.output, record["config"], deciding)
        train_step.load(arrays)
        done, seconds_before, window = newest, record["seconds"], record["window"]
        logged = record.get("log")  # not in those of earlier versions
        del arrays
        tell(f"resuming after step {done:,}")
    elif plan.initial:
        fresh = plan.initial.describe_fresh(model)
        tell(
            f"beginning with the weights of {plan.initial.place}"
            + (f", which has no {fresh}: random" if fresh else "")
        )
    group_size = config.steps_per_execution or default_group_size(device_kind())
    meter = Meter(window, cluster.hosts, group_size, skips=config.skip_norm > 0)
    log = MetricsLog(config.output, done, seconds_before, logged) if cluster.is_first else None
    progress = Progress(steps, done) if cluster.is_first else None
    guessing = frequency_loss(maker, config.eval_steps) if log else None
    repeated = repeated_share(plan.datasets)
    logged_before = log.resumed if log else ()
    plateau = Plateau(guessing, steps, plan.warmup_steps, logged_before, repeated=repeated)
    stop = StopSignals()
    device = describe_devices()
    tell(f"{model.count_params():,} parameters, {keras.config.backend()} on {device}")
    if guessing is not None:
        tell(f"a loss of {guessing:.2f} is that of always guessing tokens by their frequency")

    def seconds() -> float:
        return seconds_before + time.time() - started

    def before_saving() -> None:
        check.wait()  # What a damaged shard has taught is not kept.
        if log:
            log.publish()

    def save() -> None:
        record = {"seconds": seconds(), "window": meter.window, "config": deciding}
        state = train_step.state()
        if log:
            record["log"] = log.text()
            checkpoints.save(done, state, record, before=before_saving)

    # ---------------------------------------------------------------------------------- Loop
    batches = Prefetcher(maker.train_batch, done, steps)
    compiled = set()
    try:
        meter.restart()
        log_every = config.log_every or log_interval(steps)
        count = count_batches(maker, config.eval_steps)
        eval_every = config.eval_every or validation_interval(steps, count, log_every)
        due_every = (log_every, eval_every, config.checkpoint_every)
        for group in group_batches(batches, group_size, steps, due_every):
            each = train_step.run_group(group[0].step, [batch.arrays for batch in group])
            for batch, values in zip(group, each, strict=True):
                meter.add(batch, values, batches.take_waited())
            done = batch.step + 1
            stopping = cluster.any_asks(stop.asked, done // group_size)
            if progress:
                progress.step(done)
            evaluates = done == steps or done % eval_every == 0
            logs = evaluates or done % log_every == 0
            if len(group) not in compiled and not logs:
                meter.settle()
                meter.restart()  # compiling is not training
            compiled.add(len(group))
            if logs:
                meter.settle()
                figures = meter.summary()
                line = {
                    "step": done,
                    "epoch": round(done * config.batch_size / rows, 6),
                    "seconds": round(seconds(), 3),
                    **figures,
                    **plan.utilization(batch, figures["rows_per_second"], cluster),
                    "learning_rate": float(schedule(batch.step)),
                    **(evaluate(train_step, maker, config.eval_steps) if evaluates else {}),
                }
                if log and progress:
                    log.write(line)
                    progress.report(line)
                    if advice := plateau.see(line):
                        progress.tell(advice)
                meter.restart()
            if done == steps or stopping:
                if waiting := check.unfinished():
                    tell(f"waiting for the checksums of {waiting:,} shards")
                check.wait()
            if done == steps or stopping or done % config.checkpoint_every == 0:
                meter.settle()
                save()
            if stopping:
                break
    except DivergedError:
        raise
    except UserError:
        # For instance a shard that is missing: what has been learned from others is not lost.
        meter.settle()
        save()
        raise
    finally:
        maker.stop_fetching()
        batches.close()
        maker.stop_fetching()  # the thread may just have asked for more
        if log and progress:
            progress.close()
            log.close()
        try:
            checkpoints.wait()
        finally:
            check.stop()
            stop.restore()
    cluster.wait_for_all("trained")
    if done < steps:
        say(
            "pretrain",
            f"stopped after step {done:,}, with a checkpoint; run the same command to resume",
        )
        stop.leave()

    # ----------------------------------------------------------------------------------- End
    train_step.update_model()
    took = round(seconds(), 2)
    if cluster.is_first:
        publish_run(plan, maker, model, took, device)
    cluster.wait_for_all("published")
    tell(f"finished in {took:,.1f} s: {config.output}")


if __name__ == "__main__":
    restart_with_huge_pages()
    run_trainer_command(PretrainConfig, pretrain, "pretrain")
