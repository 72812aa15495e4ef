#!/bin/bash
# The same services through the unmodified Python SDK (what Ansible and many tools stand on).
. "$(dirname "$0")/../cluster/lib.sh"
lab_start
cloud_prepare
python3 tests/api/sdk_session.py
