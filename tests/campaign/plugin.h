// What a plugin of plugin.c exports.
#ifndef CAMPAIGN_PLUGIN_H
#define CAMPAIGN_PLUGIN_H
int plugin_start(int heap, int capture);   // a pyprof_result
long plugin_stop(void);                    // samples; -1 = failed
const char *plugin_error(void);
#endif
