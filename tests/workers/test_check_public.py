"""Ways of starting Ray that stand in public repositories, re-created: what is right passes, what is wrong is found.

Each case is small and our own; the name says where the way was seen.
"""

from __future__ import annotations

import pytest

from outlive.workers.checking import check_target

RIGHT = {
    "openrlhf train_ppo_ray_slurm.sh": """\
#!/bin/bash
#SBATCH -J {jobname}
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST") # the names
srun --nodes=1 -w "$node_1" --container-image="$IMAGE" bash -c \\
    "pip install ray[default]==$VERSION \\
    && /root/.local/bin/ray start --head --node-ip-address=$ip --port=$port --block" &>> ${LOG} &
srun -w "$node_1" bash -c "ray job submit --runtime-env-json='{\\"a\\": \\"b\\"}' -- python3 -m a" &>> ${LOG}
""",
    "alpa sbatch_template.sh": """\
#!/bin/bash
#SBATCH --nodes={{NUM_NODES}}
if [[ $ip == *" "* ]]; then
  IFS=' ' read -ra ADDR <<<"$ip"
fi
# srun --nodes=1 start-head.sh $ip; ray start --headd
srun --nodes=1 \\
  ray start --head --node-ip-address=$ip --port=6379 --redis-password=$redis_password --block &
{{COMMAND_PLACEHOLDER}} {{COMMAND_SUFFIX}}
""",
    "nemo-rl ray.sub": """\
#!/bin/bash
head_cmd=$(cat <<EOF
# it's the head's
sed -i 's/a\\.b = " "\\.join(c) + " d"/e/g' /opt/*/f.py
cat <<EOFINNER | tee /launch-head.sh
ray start --head \\
    --resources="{\\"worker_units\\": $GPUS, \\"slurm\\": 1}" \\
    --node-manager-port=$((${PORT} + 1)) \\
    \\
    --block
EOFINNER
echo "Head failed \\$count times"
EOF
)
srun bash -x -c "$head_cmd" &
""",
    "cesga raymaster.sh": 'srun -w "$n" \\\n    ray start --head --port=$port \\\n    --num-gpus "${GPUS}" --block &\n',
    "deepwalk entrypoint.sh": """\
#!/usr/bin/env bash
if [ "${RAY_MODE:-head}" = "head" ]; then
  exec ray start --head \\
       --port=6379 \\
       --block
elif [ "${RAY_MODE}" = "worker" ]; then
  exec ray start --address="${RAY_ADDRESS:-127.0.0.1:6379}" --block
else
  exec "$@"
fi
""",
    "cloudtik service.sh": """\
case "$COMMAND" in
start)
    if [ $HEAD == "true" ]; then
        ray start --head --node-ip-address=$IP --port=6379 --no-monitor > /dev/null
    else
        ray start --node-ip-address=$IP --address=$HEAD_IP:6379 > /dev/null
    fi
    ;;
*)  echo "Usage: $0 start|stop; see 'ray start --help'"; exit 1 ;;
esac
""",
    "readme prose.md": "After `ray start --head`, ray start prints what to run.\n\n    ray start --head\n",
    "airflow task.py": 'run("ray start --head --port=6379")\nmessage = "could not ray start the head"\n',
    "argv.sh": 'ray start "${a[@]}" $EXTRA --system-config="$CONFIG" || die "ray start failed: --x"\n',
    "ray-docker-compose Dockerfile": 'FROM python\nCMD ["bash", "-c", "ray start --head --include-dashboard true"]\n',
    "Dockerfile.args": (
        "# syntax=docker/dockerfile:1\nARG V=2.60.0\nFROM rayproject/ray:${V}\n"
        "RUN <<EOF\npip install a\n# ray start --x\nEOF\n"
        "COPY --chown=ray config.yaml /etc/ray start\nHEALTHCHECK CMD ray status\nENTRYPOINT ray start --head --block\n"
    ),
    "folded compose.yaml": """\
x-ray: &ray
  image: rayproject/ray
  environment: [RAY_LOG_TO_STDERR=1]
services:
  head:
    <<: *ray
    command: >
      ray start
      --head
      --dashboard-host=0.0.0.0
      --block
  worker:
    <<: *ray
    environment: {RAY_ADDRESS: "head:6379", RAY_memory_usage_threshold: 0.9}
    command: |
      bash -c "
        ray start --address=head:6379 --resources='{\\"a\\": 1}' && \\
        tail -f /dev/null
      "
""",
    "skypilot task.yaml": """\
resources: {accelerators: A100:8}
num_nodes: 2
envs: {RAY_DEDUP_LOGS: "0"}
run: |
  head_ip=$(echo "$SKYPILOT_NODE_IPS" | head -n1)
  if [ "$SKYPILOT_NODE_RANK" == "0" ]; then
    ps aux | grep ray | grep 6379 &> /dev/null || ray start --head --disable-usage-stats --port 6379
  else
    ray start --address $head_ip:6379 --disable-usage-stats
  fi
""",
    "github workflow.yml": "on: [push]\nname: ray start --head works\njobs: {a: {steps: [{run: ray start --head}]}}\n",
    "static deployment.yaml": """\
kind: Deployment
apiVersion: apps/v1
spec:
  template:
    spec:
      containers:
      - command: ["/bin/bash", "-c", "--"]
        args: ["ray start --head --num-cpus=$MY_CPU_REQUEST --block"]
        env: [{name: MY_CPU_REQUEST, valueFrom: {resourceFieldRef: {resource: cpu}}}]
""",
    "ray.service": """\
[Unit]
Description=Ray (ray start --head)
[Service]
Type=forking
Environment="RAY_ADDRESS=auto" PATH=/opt/ray/bin:/usr/bin
EnvironmentFile=-/etc/ray.env
ExecStartPre=-/opt/ray/bin/ray stop --force
ExecStart=/bin/bash -lc 'exec /opt/ray/bin/ray start --head --port=6379 --block'
; ExecStart=/opt/ray/bin/ray start --x
[Install]
WantedBy=multi-user.target
""",
}
OFF = "RAY_kill_idle_workers_interval_ms=0"
WRONG = {
    "polyphase ray_start_head.sh": ("cd $DIR\nray start --head --redis-port=6379\n", ["unknown-option"]),
    "nersc head.sh": ("ray start --head --include-webui {{ray_args}}\n", ["unknown-option"]),
    "gcs port.sh": ("ray start --head --gcs-server-port 6380 $REDIS_PW_ARG\n", ["unknown-option"]),
    "prefix.sh": (f"{OFF} ray start --head\n", ["reaper-off"]),
    "nohup.sh": (f"nohup env {OFF} ray start --head --block &> log &\n", ["reaper-off"]),
    "docker run.sh": (f"docker run -d -e {OFF} ray bash -c 'ray start --head'\n", ["reaper-off"]),
    "ssh.sh": (
        "for h in $HOSTS; do ssh $h \"ray start --address=$ip --system-config='{}'\"; done\n",
        ["system-config-on-worker"],
    ),
    "broken json.sh": ('ray start --head --system-config={"num_workers_soft_limit":0}\n', ["not-json"]),
    "unset.sh": ("export RAY_kill_idle_workers_interval_m=0\nray start --head\n", ["unknown-setting"]),
    "yes.sh": ("export RAY_memory_usage_threshold=high\nray start --head\n", ["wrong-type"]),
    "made.sh": ('ray start --head --system-config="$(cat ray.json)"\n', ["not-read"]),
    "jinja.yaml": (
        "cluster_name: {{ n }}\nprovider: {type: aws}\nmax_workers: {{ m }}\nidle_timeout_minutes: soon\n",
        ["not-read", "wrong-type"],
    ),
    "envsubst.yaml": (
        (
            "apiVersion: ray.io/v1\nkind: RayCluster\nspec:\n  headGroupSpec: {template: {}}\n"
            "  workerGroupSpecs:\n  - {template: {}, groupName: a, replicas: $N}\n"
        ),
        ["not-read"],
    ),
}


def kinds(tmp_path, name, text):
    path = tmp_path / name.rpartition(" ")[2]
    path.write_text(text)
    return [finding.kind for finding in check_target(str(path)).findings]


@pytest.mark.parametrize("name", RIGHT)
def test_what_is_right_is_not_called_wrong(tmp_path, name):
    expected = ["not-read"] if "$CONFIG" in RIGHT[name] else []
    assert kinds(tmp_path, name, RIGHT[name]) == expected


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_found(tmp_path, name):
    text, wanted = WRONG[name]
    assert kinds(tmp_path, name, text) == wanted
