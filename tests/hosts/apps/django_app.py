"""A Django project in one file."""
import sys

import django.conf
import django.http
import django.urls

import app

QUIET = {'version': 1, 'disable_existing_loggers': False, 'loggers': {'django.server': {'level': 'CRITICAL'}}}
django.conf.settings.configure(DEBUG=True, ALLOWED_HOSTS=['*'], ROOT_URLCONF='django_app', SECRET_KEY='none', LOGGING=QUIET,
                               USE_TZ=True, MIDDLEWARE=[], DATABASES={})
urlpatterns = [django.urls.re_path('(.*)', lambda request, path: django.http.HttpResponse(app.answer(path)))]

if __name__ == '__main__':
    import django.core.management
    sys.modules['django_app'] = sys.modules['__main__']
    django.core.management.execute_from_command_line(sys.argv)
