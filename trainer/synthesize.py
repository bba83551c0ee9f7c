"""Make training samples: render random scenes and run the real landmark network on them.

    python -m trainer.synthesize --split train --shards 100

`trainer.data.rendered_shards` says what the files hold.
"""

from trainer.command import start
from trainer.data.rendered_shards import ShardConfig, write_shards

if __name__ == "__main__":
    start(write_shards, ShardConfig)
