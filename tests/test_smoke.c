// The API at its edges: what every function says without a session, without Python, and with nothing at all.
#include "test.h"
#include "inside.h"

TEST(version)
{
    char version[32];
    snprintf(version, sizeof version, "%d.%d.%d", PYPROF_VERSION_MAJOR, PYPROF_VERSION_MINOR, PYPROF_VERSION_PATCH);
    CHECK_STR(pyprof_version(), version);
    CHECK_STR(PYPROF_VERSION_STRING, version);
}

TEST(result_strings)
{
    for (int a = PYPROF_OK; a <= PYPROF_ERR_BUDGET; a++)
        for (int b = PYPROF_OK; b <= PYPROF_ERR_BUDGET; b++) {
            CHECK(pyprof_result_string((pyprof_result)a)[0] != '\0');
            CHECK(a == b || strcmp(pyprof_result_string((pyprof_result)a), pyprof_result_string((pyprof_result)b)));
        }
    CHECK(pyprof_result_string((pyprof_result)99) != NULL);
    CHECK(pyprof_result_string((pyprof_result)-1) != NULL);
}

static int write_nothing(void *user, const void *data, size_t size) { return (void)user, (void)data, (void)size, 0; }
static int visit_nothing(void *user, const pyprof_item *item) { return (void)user, (void)item, 0; }

TEST(null_arguments)
{
    pyprof_profile *profile = (pyprof_profile *)&profile;
    pyprof_output output = { .format = PYPROF_FORMAT_JSON };
    size_t count;
    CHECK_INT(pyprof_start(NULL, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_snapshot(NULL, NULL, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_get_stats(NULL, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_save(NULL, "x.json", NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_write(NULL, &output, write_nothing, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_top(NULL, NULL, NULL, sizeof(pyprof_row), 0, &count), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_visit(NULL, NULL, visit_nothing, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_profile_info(NULL, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_profile_stats(NULL, NULL), PYPROF_ERR_ARGUMENT);
    CHECK_INT(pyprof_dump(0, NULL, NULL), PYPROF_ERR_ARGUMENT);
    CHECK(pyprof_stop(NULL, &profile) != PYPROF_OK);
    CHECK(profile == NULL);
    pyprof_profile_free(NULL);
}

TEST(last_error_tells_the_detail)
{
    CHECK(pyprof_start(NULL, NULL) != PYPROF_OK);
    CHECK(pyprof_last_error()[0] != '\0');
}

TEST(no_python_in_the_process)
{
    pyprof *session = (pyprof *)&session;
    pyprof_profile *profile = (pyprof_profile *)&profile;
    CHECK_INT(pyprof_start(NULL, &session), PYPROF_ERR_NO_PYTHON);
    CHECK(session == NULL);
    CHECK_INT(pyprof_dump(0, NULL, &profile), PYPROF_ERR_NO_PYTHON);
    CHECK(profile == NULL);
}

TEST(not_asked_for_by_the_environment)
{
    pyprof *session = NULL;
    unsetenv("PROFILING");
    CHECK_INT(pyprof_start_from_env(&session), PYPROF_ERR_DISABLED);
    setenv("PROFILING", "0", 1);
    CHECK_INT(pyprof_start_from_env(&session), PYPROF_ERR_DISABLED);
    CHECK(session == NULL);
}

TEST_MAIN
