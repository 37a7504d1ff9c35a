# What Doxygen reads: a comment before a declaration, or behind a member, documents it; a heading does not.
1s|^/\* .*|/** @file|
s|^( *)/\* ----|\1/*-|
s|^( *)/\* |\1/** |
s|^(.*[;,].*)/\* |\1/**< |
s|^(#define [A-Z_]+ [0-9]+ *)/\* |\1/**< |
