"""A Celery application whose broker is a folder."""
import os

import celery

import work

FOLDER = os.path.join(os.environ['HOME'], 'queue')
CONTROL = os.path.join(os.environ['HOME'], 'control')
for path in FOLDER, CONTROL:
    os.makedirs(path, exist_ok=True)
app = celery.Celery('tasks', broker='filesystem://')
app.conf.update(broker_transport_options={'data_folder_in': FOLDER, 'data_folder_out': FOLDER, 'control_folder': CONTROL},
                worker_prefetch_multiplier=1, broker_connection_retry_on_startup=True)


@app.task
def burn(seconds):
    work.mixture(seconds)
