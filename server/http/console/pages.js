// SPDX-License-Identifier: Apache-2.0
// The pages, in the order of the navigation: path, title, the key behind `g`, and the function that creates the page.

import { configs } from './configs.js';
import { keys } from './keys.js';
import { leases } from './leases.js';
import { members } from './members.js';
import { metrics } from './metrics.js';
import { overview } from './overview.js';
import { services } from './services.js';
import { watch } from './watch.js';

export const pages = [
  { path: 'overview', title: 'Overview', key: 'o', create: overview },
  { path: 'services', title: 'Services', key: 's', create: services },
  { path: 'configs', title: 'Configs', key: 'c', create: configs },
  { path: 'keys', title: 'Keys', key: 'k', create: keys },
  { path: 'watch', title: 'Watch', key: 'w', create: watch },
  { path: 'leases', title: 'Leases', key: 'l', create: leases },
  { path: 'members', title: 'Members', key: 'm', create: members },
  { path: 'metrics', title: 'Metrics', key: 'x', create: metrics },
];
