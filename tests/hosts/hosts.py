"""The hosts: each function plays one, plain or profiled, and says what is right by its options (see run.host)."""
import contextlib
import glob
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time

from run import HOSTS, Again, Skip, Trouble, free_ports, host, owner

__all__ = ['HOSTS']
HERE = os.path.dirname(os.path.abspath(__file__))
MIXTURE = 'import work; work.mixture()'


def need(*programs):
    """The first of these that exists."""
    for program in programs:
        found = sorted(glob.glob(program)) if program.startswith('/') else [shutil.which(program)]
        if found and found[-1]:
            return found[-1]
    raise Skip('no %s: tests/deps.sh test-hosts installs it' % programs[-1])


def works(run, program):
    """Whether the program tells its version: that of rustup may have nothing to start."""
    return program and os.path.exists(program) and not subprocess.run(
        [program, '--version'], env=run.plain, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection(('127.0.0.1', port)):
        return True


def venv(run, program):
    return need(os.path.join(run.venv, program))


# --- programs with Python inside ---------------------------------------------------------------------------------

@host('gdb')
def gdb(run):
    program = need('gdb')
    if not run.tool(program, '-nx', '-batch', '-ex', 'python print(1)').startswith('1'):
        raise Skip('this gdb has no Python')
    run.call(program, '-nx', '-batch', '-ex', 'set debuginfod enabled off', '-ex', 'python ' + MIXTURE, '-ex', 'run',
             '-ex', 'python print("done")', '--args', '/bin/sh', '-c', 'echo debugged; exit 3')


@host('vim')
def vim(run):
    program = need('vim.nox', 'vim')
    if '+python3' not in run.tool(program, '--version'):
        raise Skip('this vim has no Python 3: tests/deps.sh test-hosts installs vim-nox')
    run.call(program, '-u', 'NONE', '-i', 'NONE', '-N', '-es', '-c', 'python3 ' + MIXTURE, '-c', 'cquit 3')


@host('collectd')
def collectd(run):
    need('/usr/lib/collectd/python.so', '/usr/lib/*/collectd/python.so')
    with open(run.path('apps', 'plugin.py'), 'w') as file:
        file.write('import collectd, work\ncollectd.register_read(work.mixture, 600)\n')
    config = run.write('collectd.conf', '''
        Hostname "localhost"
        BaseDir "%(folder)s"
        PIDFile "%(folder)s/pid"
        Interval 1
        LoadPlugin python
        <Plugin python>
            ModulePath "%(folder)s/apps"
            Import "plugin"
        </Plugin>
        ''' % {'folder': run.folder})
    server = run.start(need('/usr/sbin/collectd'), '-f', '-C', config)
    run.until(run.workers, 'the plugin')
    run.end(server, signal.SIGTERM)


@host('libreoffice')
def libreoffice(run):
    need('/usr/lib/libreoffice/program/libpythonloaderlo.so')
    scripts = run.path('office', 'user', 'Scripts', 'python')
    os.makedirs(scripts)
    with open(os.path.join(scripts, 'macro.py'), 'w') as file:
        file.write('import sys\nsys.path.insert(0, %r)\n\n\ndef burn():\n    %s\n    XSCRIPTCONTEXT.getDesktop().terminate()\n'
                   % (run.path('apps'), MIXTURE))
    run.call(need('soffice'), '-env:UserInstallation=file://' + run.path('office'), '--headless', '--norestore',
             'vnd.sun.star.script:macro.py$burn?language=Python&location=user')


def embedding():
    """Options that link a C program with the libpython of this Python."""
    said = subprocess.run([sys.executable, os.path.join(os.path.dirname(HERE), 'embed.py')], stdout=subprocess.PIPE,
                          universal_newlines=True).stdout.split()
    links = [word for word in said if word.startswith(('-l', '-L', '-Wl'))]
    if not any(word.startswith('-lpython') for word in links):
        raise Skip('no libpython for ' + sys.executable)
    return links


def build_go(run, source, **options):
    """The path of a Go program, built once for both runs."""
    target = os.path.join(run.build, 'hosts-go', source[:-len('.go')])
    if not run.profiled:
        env = dict(run.plain, GOCACHE=os.path.join(run.build, 'hosts-go', 'cache'), GO111MODULE='off', GOFLAGS='',
                   GOTOOLCHAIN='local', **options)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        run.tool(need('go'), 'build', '-o', target, os.path.join(HERE, source), env=env)
    return target


def finds_python(run):
    """The environment, with the Python of embedding() in front: an embedded one looks for its modules beside the first in PATH."""
    return dict(run.env, PATH=os.path.dirname(os.path.realpath(sys.executable)) + ':' + run.env['PATH'])


def embed_go(run):
    return build_go(run, 'host.go', CGO_ENABLED='1', CGO_LDFLAGS=' '.join(embedding()))


@host('go')
def go(run):
    run.call(embed_go(run), 'finalize', MIXTURE, env=finds_python(run))


@host('go-exit')
def go_exit(run):
    """os.Exit of Go is a bare system call: the last checkpoint is what remains."""
    run.call(embed_go(run), 'exit', 'import work; work.mixture(end="shot")', env=finds_python(run))


@host('go-starts-python')
def go_starts_python(run):
    """The Go program is static: nothing can be loaded into it, and its child is the first process."""
    run.call(build_go(run, 'starter.go', CGO_ENABLED='0'), sys.executable, '-c', MIXTURE)


@host('rust')
def rust(run):
    program = next((each for each in (shutil.which('rustc'), '/usr/bin/rustc') if works(run, each)), None) or need('/usr/bin/rustc')
    links, target = embedding(), os.path.join(run.build, 'hosts-rust')
    if not run.profiled:
        run.tool(program, '-O', '--edition', '2018', '-o', target, os.path.join(HERE, 'host.rs'),
                 *['-Clink-arg=' + link for link in links])
    run.call(target, MIXTURE, env=finds_python(run))


# --- web servers ------------------------------------------------------------------------------------------------

@host('outside-uwsgi', workers=8, outside=True)
@host('uwsgi', workers=8)
def uwsgi(run):
    need('/usr/lib/uwsgi/plugins/python3*_plugin.so')
    port, = free_ports(1)
    server = run.start(need('uwsgi', 'uwsgi-core'), '--plugin', 'python3', '--http-socket', '127.0.0.1:%d' % port,
                       '--master', '--processes', '4', '--module', 'app', '--disable-logging')
    run.up(port)
    run.drive(port, 4)
    run.reloaded()
    server.send_signal(signal.SIGHUP)
    run.drive(port, 4)
    run.end(server, signal.SIGINT)


def apache(run, mpm, text):
    """Starts Apache with these lines in its configuration: the process and its port."""
    modules = os.path.dirname(need('/usr/lib/apache2/modules/mod_wsgi.so'))
    port, = free_ports(1)
    common = '''
        ServerRoot %(folder)s
        ServerName localhost
        PidFile %(folder)s/pid
        DefaultRuntimeDir %(folder)s
        Listen 127.0.0.1:%(port)d
        ErrorLog %(folder)s/stderr
        WSGISocketPrefix %(folder)s/wsgi
        LoadModule mpm_%(mpm)s_module %(modules)s/mod_mpm_%(mpm)s.so
        LoadModule authz_core_module %(modules)s/mod_authz_core.so
        LoadModule wsgi_module %(modules)s/mod_wsgi.so
        StartServers 2
        MaxRequestWorkers %(limit)d
        GracefulShutdownTimeout 10
        <IfModule unixd_module>
            User www-data
            Group www-data
        </IfModule>
        <Directory %(folder)s>
            Require all granted
        </Directory>
        WSGIScriptAlias / %(folder)s/apps/app.py
    ''' % {'folder': run.folder, 'port': port, 'modules': modules, 'mpm': mpm,
           'limit': 3 if mpm == 'prefork' else 50}
    config = run.write('httpd.conf', common + text % {'folder': run.folder})
    server = run.start(need('/usr/sbin/apache2'), '-d', run.folder, '-f', config, '-DFOREGROUND')
    run.up(port)
    return server, port


def apache_scenario(run, mpm, text, path='/burn'):
    server, port = apache(run, mpm, text)
    run.drive(port, 2, path)
    run.reloaded()
    server.send_signal(signal.SIGUSR1)
    run.drive(port, 2, path)
    run.end(server, signal.SIGTERM)


# A daemon process that takes more than 3 s to end, as on a busy machine, is killed by Apache.
@host('mod_wsgi-daemon', workers=4, first=False, noise='Unable to connect to WSGI daemon|Truncated or oversized response')
def mod_wsgi_daemon(run):
    apache_scenario(run, 'event', '''
        WSGIDaemonProcess app processes=2 threads=3 python-path=%(folder)s/apps
        WSGIProcessGroup app
        WSGIApplicationGroup %%{GLOBAL}''', '/killed/burn')


@host('mod_wsgi-embedded', workers=4, first=False, noise='server reached MaxRequestWorkers')
def mod_wsgi_embedded(run):
    apache_scenario(run, 'prefork', '''
        WSGIPythonPath %(folder)s/apps
        WSGIApplicationGroup %%{GLOBAL}''')


@host('mod_wsgi-default', workers=4, first=False, noise='server reached MaxRequestWorkers|still did not exit')
def mod_wsgi_default(run):
    """In interpreters of their own: such processes hang at their end, until Apache kills them."""
    apache_scenario(run, 'prefork', '''
        WSGIPythonPath %(folder)s/apps''', '/killed/burn')


def gunicorn(run, *options, workers=2):
    port, = free_ports(1)
    config = run.write('gunicorn.conf.py', 'control_socket_disable = True\n')   # older ones know no such socket
    server = run.start(venv(run, 'gunicorn'), '--bind', '127.0.0.1:%d' % port, '--workers', str(workers), '-c', config,
                       *options + ('app:application',))
    run.up(port)
    return server, port


def gunicorn_scenario(run, *options):
    server, port = gunicorn(run, *options)
    run.drive(port, 2)
    run.reloaded()
    server.send_signal(signal.SIGHUP)
    run.drive(port, 2)
    run.end(server, signal.SIGTERM)


@host('gunicorn-sync', workers=4)
def gunicorn_sync(run):
    gunicorn_scenario(run)


@host('outside-gunicorn', workers=4, outside=True, load=True)
def gunicorn_outside(run):
    server, port = gunicorn(run, workers=4)
    run.drive(port, 4)
    run.end(server, signal.SIGTERM)


@host('gunicorn-gthread', workers=4)
def gunicorn_gthread(run):
    gunicorn_scenario(run, '--worker-class', 'gthread', '--threads', '3')


@host('gunicorn-loaded', workers=4, load=True)
def gunicorn_loaded(run):
    gunicorn_scenario(run)


@host('gunicorn-killed', workers=4)
def gunicorn_killed(run):
    """kill -9 of the workers, as the OOM killer does it: their checkpoints remain."""
    server, port = gunicorn(run)
    run.drive(port, 2, '/shot/burn')
    for pid in run.workers():
        os.kill(pid, signal.SIGKILL)
    run.reloaded()
    run.drive(port, 2)
    run.end(server, signal.SIGINT)


@host('uvicorn')
def uvicorn(run):
    port, = free_ports(1)
    server = run.start(venv(run, 'uvicorn'), '--port', str(port), '--no-access-log', 'app:asgi')
    run.up(port)
    run.drive(port, 1)
    run.end(server, signal.SIGTERM)   # after its clean shutdown uvicorn raises the signal again


@host('uvicorn-workers', workers=4, noise='Waiting for connections to close')
def uvicorn_workers(run):
    port, = free_ports(1)
    server = run.start(venv(run, 'uvicorn'), '--port', str(port), '--no-access-log', '--workers', '2',
                       '--timeout-worker-healthcheck', '30', 'app:asgi')   # 5 s are too few on a busy machine
    run.up(port)
    run.drive(port, 2)
    run.reloaded()
    server.send_signal(signal.SIGHUP)
    run.drive(port, 2)
    run.until(lambda: 2 <= sum('Application shutdown complete' in line for line in run.output('stderr')) or
              any('not ready in time' in line for line in run.output('stderr')), 'the end of the reload')
    if any('not ready in time' in line for line in run.output('stderr')):
        server.send_signal(signal.SIGINT)
        server.wait(100)
        # Two threads of a new worker may make a server object each, and the one that answers tells of the wrong one.
        raise Again('a new worker was not seen to be ready')
    run.end(server, signal.SIGINT)


# Ctrl-C may come while Python ends already, which Python tells in several lines.
@host('django', workers=2, noise='^Traceback|KeyboardInterrupt|^Exception ignored|_weakrefset.py|def _remove|^$')
def django(run):
    port, = free_ports(1)
    venv(run, 'django-admin')
    server = run.start(venv(run, 'python'), '-u', run.path('apps', 'django_app.py'), 'runserver', '127.0.0.1:%d' % port)
    run.up(port)
    run.drive(port, 1)
    run.reloaded()
    old = run.get(port, '/')

    def changed():   # the reloader looks once a second, and remembers what it saw first
        if time.monotonic() > touched[-1] + 8:
            os.utime(run.path('apps', 'app.py'))
            touched.append(time.monotonic())
        with contextlib.suppress(OSError, http.client.HTTPException):
            return run.get(port, '/') != old
    touched = [time.monotonic() - 6]
    run.until(changed, 'the reloader')
    run.drive(port, 1, '/killed/burn')
    run.end(server, signal.SIGINT, group=True)   # as Ctrl-C: the reloader kills its child after a quarter of a second


# --- databases, queues, notebooks, tests --------------------------------------------------------------------------

@host('postgresql', workers=3, first=False, noise='the database system is starting up')
def postgresql(run):
    need('/usr/lib/postgresql/*/lib/plpython3.so')
    programs = os.path.dirname(need('/usr/lib/postgresql/*/bin/postgres'))
    user = owner(run, 'postgres')
    name = 'postgres' if user else run.tool('id', '-un').strip()
    run.tool(os.path.join(programs, 'initdb'), '-D', run.path('data'), '-A', 'trust', '-N', '--locale=C', '-E', 'UTF8', **user)
    server = run.start(os.path.join(programs, 'postgres'), '-D', run.path('data'), '-k', run.folder,
                       '-c', 'listen_addresses=', '-c', 'log_min_messages=fatal', '-c', 'log_checkpoints=off', **user)
    psql = [os.path.join(programs, 'psql'), '-X', '-q', '-t', '-A', '-h', run.folder, '-U', name, 'postgres', '-c']
    run.until(lambda: os.path.exists(run.path('.s.PGSQL.5432')) and not subprocess.run(
        psql + ['select 1'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode, 'PostgreSQL')
    run.tool(*psql + ['create extension plpython3u'])
    run.tool(*psql + ['create function burn() returns int as $$\nimport work\nreturn work.mixture()\n$$ language plpython3u'])
    clients = [subprocess.Popen(psql + ['select burn()'], stdout=subprocess.DEVNULL) for _ in range(2)]
    if any(client.wait(60) for client in clients):
        raise Trouble('a client failed')
    idle = subprocess.Popen(psql + ['select burn(); select pg_sleep(60)'], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    run.until(lambda: len(run.workers()) == 3, 'the third client')
    run.end(server, signal.SIGINT)   # fast shutdown: the backend that sleeps gets SIGTERM
    idle.wait(60)


@host('outside-celery', workers=2, outside=True)
@host('celery', workers=2)
def celery(run):
    server = run.start(venv(run, 'celery'), '-A', 'tasks', 'worker', '-P', 'prefork', '-c', '2', '-l', 'ERROR',
                       '--without-gossip', '--without-mingle', '--without-heartbeat', '-n', 'worker@localhost')
    send = 'import os, tasks\nfor _ in range(8): tasks.burn.delay(float(os.environ["HOSTS_WORK"]) / 3)'

    def worked():
        if not os.path.isdir(run.path('queue')) or not os.listdir(run.path('queue')):
            run.tool(venv(run, 'python'), '-c', send)
        return len(run.workers()) >= 2
    run.until(worked, 'two workers', 100)
    run.until(lambda: not os.listdir(run.path('queue')), 'the queue to be empty')
    run.end(server, signal.SIGTERM)   # warm shutdown


@host('outside-jupyter', outside=True)
@host('jupyter')
def jupyter(run):
    need(os.path.join(run.venv, '../lib/python3*/site-packages/ipykernel'))
    ports = dict(zip(('shell_port', 'iopub_port', 'stdin_port', 'control_port', 'hb_port'), free_ports(5)))
    connection = run.write('kernel.json', json.dumps(dict(ports, ip='127.0.0.1', transport='tcp', key='none',
                                                          signature_scheme='hmac-sha256')))
    kernel = run.start(venv(run, 'python'), '-m', 'ipykernel_launcher', '-f', connection)
    run.until(lambda: listens(ports['hb_port']), 'the kernel')
    said = run.tool(venv(run, 'python'), run.path('apps', 'kernel_client.py'), connection, MIXTURE, 'print(6 * 7)', '1 / 0')
    if '42' not in said:
        raise Trouble('the kernel said ' + said)
    run.end(kernel)


@host('pytest-xdist', workers=2)
def pytest(run):
    need(os.path.join(run.venv, '../lib/python3*/site-packages/xdist'))
    run.call(venv(run, 'python'), '-m', 'pytest', '-q', '-n', '2', '-p', 'no:cacheprovider', run.path('apps', 'test_work.py'))


# --- child processes of Python ------------------------------------------------------------------------------------

def processes(run, method):
    run.call(sys.executable, run.path('apps', 'processes.py'), method)


@host('outside-mp-fork', workers=5, outside=True)
@host('mp-fork', workers=5)
def mp_fork(run):
    processes(run, 'fork')


@host('outside-mp-forkserver', workers=5, outside=True)
@host('mp-forkserver', workers=5)
def mp_forkserver(run):
    processes(run, 'forkserver')


@host('outside-mp-spawn', workers=5, outside=True)
@host('mp-spawn', workers=5)
def mp_spawn(run):
    processes(run, 'spawn')


@host('mp-loaded', workers=5, load=True)
def mp_loaded(run):
    processes(run, 'fork')


@host('outside-futures', workers=3, outside=True)
@host('futures', workers=3)
def futures(run):
    processes(run, 'futures')
