"""Talks to a Jupyter kernel: kernel_client.py CONNECTION_FILE CODE ..., then asks it to shut down."""
import sys

import jupyter_client

client = jupyter_client.BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=60)
for code in sys.argv[2:]:
    reply = client.execute_interactive(code, timeout=60)
    print(reply['content']['status'])
client.shutdown(reply=True, timeout=30)
client.stop_channels()
